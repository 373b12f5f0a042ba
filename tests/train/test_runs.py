"""What a run can be: stopped, continued, shared out, frozen in part, of a variant, begun from earlier weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import eamfmeg_fast.evaluate
from eamfmeg_fast.config import NetworkConfig, preset
from eamfmeg_fast.errors import OptionError, WeightsError
from eamfmeg_fast.evaluate import calibrate
from eamfmeg_fast.network import build_network
from eamfmeg_fast.train import CHECKPOINT, Stage, Trained, TrainOptions, load_checkpoint, run
from eamfmeg_fast.train.parts import part_of
from eamfmeg_fast.train.rounding import trimmed
from eamfmeg_fast.weights import load_network

STAGES = (Stage(3, 2, 128, "front"), Stage(2, 2, 128, "all", spots=3, focus=1.0), Stage(1, 2, 128, "decoder"))
AT_ONCE = 1e-9


def options(folder: Path, config: NetworkConfig | None, **changes: object) -> TrainOptions:
    plain = TrainOptions(
        "small", out=folder, config=config, stages=STAGES, workers=0, threads=1, device="cpu", accumulate=2
    )
    return replace(plain, publish=config is None, scales=False, **changes)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def index(folder: Path) -> dict[str, object]:
    return json.loads((folder / CHECKPOINT / "index.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: NetworkConfig) -> SimpleNamespace:
    """All six steps in one go."""
    folder = tmp_path_factory.mktemp("whole")
    trained = run(options(folder, tiny))
    return SimpleNamespace(folder=folder, trained=trained, weights=weights(trained))


def test_signals_and_the_clock_stop_a_run_that_then_goes_on_bit_for_bit(
    whole: SimpleNamespace, tmp_path: Path, tiny: NetworkConfig
) -> None:
    """Nothing is saved on the way; each stop saves, in the first stage, on its last step, and in the second."""

    def sender(number: signal.Signals, at: int) -> object:
        return lambda step, *_: os.kill(os.getpid(), number) if step == at else None

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    steps = []
    for progress in (sender(signal.SIGTERM, 2), sender(signal.SIGINT, 3), None):
        minutes = 0.0 if progress else AT_ONCE
        stopped = run(options(tmp_path, tiny, save_every=1000, minutes=minutes), progress)
        assert index(tmp_path)["step"] == stopped.steps and stopped.told == (progress is not None)
        steps.append(stopped.steps)
    assert steps == [2, 3, 4]
    assert {number: signal.getsignal(number) for number in before} == before
    last = weights(run(options(tmp_path, tiny, save_every=2)))
    assert [name for name, tensor in whole.weights.items() if not torch.equal(tensor, last[name])] == []
    a, b = ({s["file"]: s["sha256"] for s in index(folder)["shards"]} for folder in (whole.folder, tmp_path))
    assert a == b


def test_pictures_and_seconds_are_counted_over_all_tries(whole: SimpleNamespace) -> None:
    assert index(whole.folder)["pictures"] == 6 * 2 * 2 * 2 and index(whole.folder)["seconds"] > 0


def test_the_log_ends_with_a_summary_to_draw(whole: SimpleNamespace) -> None:
    *steps, last = rows(whole.folder)
    summary = last["summary"]
    assert (summary["steps"], summary["of"], summary["pictures"]) == (6, 6, 48)
    assert summary["stages"] == [["front", 128, 3], ["all", 128, 2], ["decoder", 128, 1]]
    assert "CPU cores" in summary["machine"]
    curve = summary["curve"]
    assert curve["step"] == [0, 1, 2, 3, 4, 5] and {len(values) for values in curve.values()} == {6}
    assert curve["loss"] == [row["loss"] for row in steps[1:]]
    assert curve["reconstruction"][:3] == [None] * 3 and curve["reconstruction"][3] > 0
    assert all(row["rate"] > 0 and row["pictures_per_s"] > 0 for row in steps[1:])


def test_the_number_of_micro_batches_is_part_of_the_run(
    whole: SimpleNamespace, tmp_path: Path, tiny: NetworkConfig
) -> None:
    """One micro-batch of a step is another run, and its checkpoint is of other options."""
    one = run(options(tmp_path, tiny, accumulate=1, minutes=AT_ONCE))
    assert rows(tmp_path)[1]["loss"] != rows(whole.folder)[1]["loss"] and one.steps == 1
    with pytest.raises(WeightsError, match="other options"):
        run(options(tmp_path, tiny))


def test_a_frozen_front_keeps_weights_and_statistics(tmp_path: Path, tiny: NetworkConfig) -> None:
    torch.manual_seed(1)
    before = {name: tensor.clone() for name, tensor in build_network(tiny).state_dict().items()}
    after = weights(run(options(tmp_path, tiny, stages=STAGES[2:])))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    front = {name for name in moved if part_of(name) == "front"}
    # Only trimmed to what checkpoints hold.
    assert all(torch.equal(after[name], trimmed(before[name])) for name in front)
    for name in ("generator.final.weight", "generator.first.norm.running_mean", "generator.bottleneck.r0.conv1.weight"):
        assert name in moved and not torch.equal(after[name], trimmed(before[name])), name


def test_a_variant_is_trained_and_read_again_but_not_published(
    whole: SimpleNamespace, tmp_path: Path, tiny: NetworkConfig
) -> None:
    assert whole.trained.weights is None and not list(whole.folder.glob("*.safetensors"))
    again = build_network(tiny)
    assert load_checkpoint(whole.folder / CHECKPOINT, again).step == 6
    assert all(torch.equal(tensor, whole.weights[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(OptionError, match="variant of preset 'small' to publish.*publish=False"):
        run(replace(options(tmp_path / "no", tiny), publish=True))
    assert not (tmp_path / "no").exists()


def test_a_variant_without_edges_trains(tmp_path: Path, tiny: NetworkConfig) -> None:
    plain = replace(tiny, edge=False, attention=None)
    trained = run(options(tmp_path, plain, stages=(Stage(1, 2, 128, "all"),)))
    row = rows(tmp_path)[1]
    assert trained.steps == 1 and "edge" not in row and row["reconstruction"] > 0


def test_weights_to_begin_with_and_scales_to_end_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eamfmeg_fast.evaluate, "calibrate", lambda path: calibrate(path, people=1))
    stages = (Stage(1, 2, 128, "front", rate=1e-4),)
    shipped, info = load_network("small")
    done = run(replace(options(tmp_path, None, stages=stages, start_from="small"), scales=True))
    final = "generator.final.weight"
    assert torch.equal(done.network.state_dict()[final], trimmed(shipped.state_dict()[final]))
    kept, found = load_network(tmp_path / "small.safetensors")
    assert found == done.weights and found.card["started_from"] == info.content_sha256
    assert found.activation_scales is not None and set(found.activation_scales) == set(
        kept.config.residual_convolutions
    )
    with pytest.raises(WeightsError, match="other options"):
        run(options(tmp_path, None, stages=stages))


def test_a_front_can_be_taken_over_by_a_wider_decoder(tmp_path: Path) -> None:
    wide = replace(preset("small"), generator_expansion=8, generator_max_features=16, residual_blocks=1)
    stages = (Stage(1, 1, 256, "decoder", rate=1e-3),)
    done = run(replace(options(tmp_path, wide, stages=stages, start_from="small"), publish=False))
    shipped, got = load_network("small")[0], done.network
    front = {name: value for name, value in shipped.named_parameters() if part_of(name) == "front"}
    learned = dict(got.named_parameters())
    assert len(front) > 40 and all(torch.equal(learned[name], trimmed(value)) for name, value in front.items())
    statistics = {name: value for name, value in shipped.named_buffers() if part_of(name) == "front"}
    kept = dict(got.named_buffers())
    assert len(statistics) > 20 and all(torch.equal(kept[name], value) for name, value in statistics.items())


def test_weights_of_another_network_are_no_beginning(tmp_path: Path, tiny: NetworkConfig) -> None:
    with pytest.raises(WeightsError, match=r"small is of preset small.*shapes"):
        run(options(tmp_path, tiny, start_from="small"))


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from eamfmeg_fast.config import HourglassConfig, preset
from eamfmeg_fast.train import Stage, TrainOptions, run

narrow = HourglassConfig(4, 5, 8)
tiny = replace(preset("small"), size=128, keypoint=narrow, dense_motion=narrow, generator_expansion=4,
               generator_max_features=8, residual_blocks=1, attention_dim=4)
stages = (Stage(1, 2, 128, "front"), Stage(2, 2, 128, "all"))
run(TrainOptions("small", Path(sys.argv[1]), stages, config=tiny, workers=0, threads=1, device="cpu", accumulate=2,
                 publish=False, minutes=float(sys.argv[2])))
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path, tiny: NetworkConfig, root: Path) -> None:
    """Under torchrun, stopped by the clock after a step and continued: the same losses and weights, to the bit."""
    stages = (Stage(1, 2, 128, "front"), Stage(2, 2, 128, "all"))
    alone = run(options(tmp_path / "one", tiny, stages=stages))
    (tmp_path / "two.py").write_text(SCRIPT)
    launch = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for minutes in ("1e-9", "0"):
        command = [*launch, "--nproc-per-node", "2", str(tmp_path / "two.py"), str(tmp_path / "two"), minutes]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert index(tmp_path / "two")["step"] == (1 if minutes == "1e-9" else 3)
    both = build_network(tiny)
    load_checkpoint(tmp_path / "two" / CHECKPOINT, both)
    wanted = dict(alone.network.named_parameters())
    assert [name for name, tensor in both.named_parameters() if not torch.equal(tensor, wanted[name])] == []
    speed = ("pictures_per_s",)
    one, two = (
        [{k: v for k, v in row.items() if k not in speed} for row in rows(tmp_path / name)[1:-1]]
        for name in ("one", "two")
    )
    assert one == two and len(one) == 3
    assert rows(tmp_path / "two")[-1]["summary"]["machine"].endswith("2 processes")


@pytest.mark.gpu
def test_a_device_trains_too(tmp_path: Path, tiny: NetworkConfig) -> None:
    """Rendering on it, without TF32, and leaving the settings as they were."""
    before = torch.backends.cudnn.allow_tf32
    done = run(replace(options(tmp_path, tiny), device="cuda"))
    assert done.steps == 6 and {p.device.type for p in done.network.parameters()} == {"cpu"}
    assert torch.backends.cudnn.allow_tf32 == before
    first = run(replace(options(tmp_path / "cpu", tiny), minutes=AT_ONCE))
    assert first.steps == 1
    assert rows(tmp_path)[1]["loss"] == pytest.approx(rows(tmp_path / "cpu")[1]["loss"], rel=1e-2)
