"""Checkpoints: exact, in small shards, and never half of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eamfmeg_fast.config import HourglassConfig, NetworkConfig, preset
from eamfmeg_fast.errors import OptionError, WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.train import checkpoint
from eamfmeg_fast.train.adam import ShortAdam
from eamfmeg_fast.train.checkpoint import Position, load_checkpoint, save_checkpoint, stored_bytes
from eamfmeg_fast.train.parts import fresh_network

CPU = torch.device("cpu")


def trained(config: NetworkConfig, seed: int, steps: int) -> tuple[Network, ShortAdam]:
    """A network that took steps along gradients of random size, the decoder one less."""
    torch.manual_seed(seed)
    network = fresh_network(config, CPU)
    optimiser = ShortAdam(network, seed)
    for step in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter) * 10 ** torch.randint(-6, 3, (1,))
        parts = ("front", "decoder") if step else ("front",)
        gradients = {part: optimiser.parts[part].gradient() for part in parts}
        optimiser.step(gradients, {"front": 1e-3, "decoder": 3e-3}, longest=5.0)
    return network, optimiser


def state(network: Network, optimiser: ShortAdam) -> dict[str, torch.Tensor]:
    moments = {
        f"{kind} {name}": tensor
        for part in optimiser.parts.values()
        for name, *pair in part.named()
        for kind, tensor in zip(("mean", "square"), pair, strict=True)
    }
    counts = {part: torch.tensor(moments.count) for part, moments in optimiser.parts.items()}
    return {name: tensor.clone() for name, tensor in (network.state_dict() | moments | counts).items()}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 40_000)


def test_what_comes_back_is_what_was_there(tmp_path: Path, tiny: NetworkConfig, small_shards: None) -> None:
    network, optimiser = trained(tiny, 1, 3)
    position = Position(3, "mine", 4.5, 60)
    save_checkpoint(tmp_path / "c", network, optimiser, position)
    again, moments = trained(tiny, 2, 1)
    assert load_checkpoint(tmp_path / "c", again, moments, "mine") == position
    want, got = state(network, optimiser), state(again, moments)
    assert want["front"] == 3 and want["decoder"] == 2
    assert want.keys() == got.keys() and all(torch.equal(got[name], tensor) for name, tensor in want.items())
    assert len([name for name in want if name.startswith("mean ") and want[name].any()]) > 50


def test_shards_are_small_and_hold_every_number_once(tmp_path: Path, tiny: NetworkConfig, small_shards: None) -> None:
    network, optimiser = trained(tiny, 1, 2)
    save_checkpoint(tmp_path, network, optimiser, Position(2, "mine"))
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 3 and all(path.stat().st_size <= 40_000 for path in shards)
    found = [name for path in shards for name in load_file(path)]
    assert len(found) == len(set(found))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 7 * parameters < total < stored_bytes(network)


def test_eight_million_parameters_fit_and_nine_do_not() -> None:
    wide = replace(preset("small"), keypoint=HourglassConfig(32, 5, 240), dense_motion=HourglassConfig(32, 5, 240))
    with torch.device("meta"):
        network = Network(wide)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 7_600_000 < parameters < 8_500_000
    assert 7 * parameters < stored_bytes(network) <= 60_000_000
    with torch.device("meta"):
        larger = Network(replace(wide, keypoint=HourglassConfig(32, 5, 320)))
    with pytest.raises(OptionError, match="at most 60000000"):
        stored_bytes(larger)


def test_the_same_state_gives_the_same_bytes(tmp_path: Path, tiny: NetworkConfig) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, *trained(tiny, 1, 2), Position(2, "mine"))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_an_older_checkpoint_goes_when_the_new_one_is_whole(
    tmp_path: Path, tiny: NetworkConfig, small_shards: None
) -> None:
    save_checkpoint(tmp_path, *trained(tiny, 1, 1), Position(1, "mine"))
    first = set(files(tmp_path))
    save_checkpoint(tmp_path, *trained(tiny, 1, 2), Position(2, "mine"))
    second = files(tmp_path)
    index = json.loads(second.pop("index.json"))
    assert {shard["file"] for shard in index["shards"]} == set(second) and not first & set(second)


@pytest.mark.parametrize("dies_at", [0, 1, 3])
def test_a_run_that_dies_while_it_saves_leaves_the_old_one(
    tmp_path: Path, tiny: NetworkConfig, small_shards: None, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    network, optimiser = trained(tiny, 1, 1)
    before = state(network, optimiser)
    save_checkpoint(tmp_path, network, optimiser, Position(1, "mine"))
    real, calls = checkpoint.written_aside, [0]

    def dying(path: Path) -> object:
        calls[0] += 1
        if calls[0] > dies_at and (dies_at < 3 or path.name == "index.json"):
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(checkpoint, "written_aside", dying)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, *trained(tiny, 1, 2), Position(2, "mine"))
    monkeypatch.setattr(checkpoint, "written_aside", real)
    again, moments = trained(tiny, 2, 1)
    assert load_checkpoint(tmp_path, again, moments, "mine").step == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(again, moments).items())
    save_checkpoint(tmp_path, *trained(tiny, 1, 2), Position(2, "mine"))
    index = json.loads((tmp_path / "index.json").read_text())
    assert set(files(tmp_path)) == {"index.json", *(shard["file"] for shard in index["shards"])}


def _cut(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])


def _swap(folder: Path) -> None:
    one, two = sorted(folder.glob("*.safetensors"))[:2]
    two.write_bytes(one.read_bytes())


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text()) | changes
        (folder / "index.json").write_text(json.dumps(index))

    return edit


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut shard": (_cut, "is not what index.json says"),
    "swapped shards": (_swap, "is not what index.json says"),
    "missing shard": (lambda folder: sorted(folder.glob("*.safetensors"))[0].unlink(), "No such file"),
    "missing index": (lambda folder: (folder / "index.json").unlink(), "index.json: No such file"),
    "empty index": (lambda folder: (folder / "index.json").write_bytes(b""), "is no JSON"),
    "noisy index": (lambda folder: (folder / "index.json").write_bytes(bytes(range(256))), "is no JSON"),
    "a list": (lambda folder: (folder / "index.json").write_text("[]"), "not of the format"),
    "another format": (_edit(format="eamfmeg_fast checkpoint 9"), "not of the format"),
    "no step": (_edit(step=None), "has no step"),
    "strange counts": (_edit(counts={"front": 1}), "has other counts"),
    "a path": (_edit(shards=[{"file": "../index.json", "sha256": ""}]), "names no shard"),
    "no shards": (_edit(shards=[]), "holds another network"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_clear_line(tmp_path: Path, tiny: NetworkConfig, small_shards: None, damage: str) -> None:
    harm, words = DAMAGE[damage]
    save_checkpoint(tmp_path, *trained(tiny, 1, 1), Position(1, "mine"))
    harm(tmp_path)
    network, optimiser = trained(tiny, 2, 1)
    before = state(network, optimiser)
    assert checkpoint.exists(tmp_path)
    with pytest.raises(WeightsError, match=words) as caught:
        load_checkpoint(tmp_path, network, optimiser, "mine")
    assert "\n" not in str(caught.value) and "Delete it to start again" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(network, optimiser).items())


def test_another_run_and_another_network_are_refused(tmp_path: Path, tiny: NetworkConfig) -> None:
    save_checkpoint(tmp_path, *trained(tiny, 1, 1), Position(1, "mine"))
    network, optimiser = trained(tiny, 1, 1)
    with pytest.raises(WeightsError, match="other options"):
        load_checkpoint(tmp_path, network, optimiser, "yours")
    with pytest.raises(WeightsError, match="another network"):
        load_checkpoint(tmp_path, fresh_network(replace(tiny, edge=False, attention=None), CPU))
    assert load_checkpoint(tmp_path, network).step == 1


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert not checkpoint.exists(tmp_path) and not checkpoint.exists(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert checkpoint.exists(tmp_path / "file")
