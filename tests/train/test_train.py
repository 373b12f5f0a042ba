"""The training loop: the same from the same seed, resumable to the step, and honest about what it measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eamfmeg_fast.config import preset
from eamfmeg_fast.errors import OptionError, WeightsError
from eamfmeg_fast.network import build_network
from eamfmeg_fast.train import CHECKPOINT, LossWeights, Stage, TrainingDiverged, TrainOptions, run
from eamfmeg_fast.train.feed import Feed
from eamfmeg_fast.train.objective import Objective
from eamfmeg_fast.train.parts import fresh_network
from eamfmeg_fast.train.perceptual import FixedPyramid, perceptual_loss
from eamfmeg_fast.weights import load_network

STAGES = (Stage(steps=2, batch=3, size=128, parts="front"), Stage(steps=2, batch=2, size=256, parts="all"))
AT_ONCE = 1e-9
"""Minutes after which a run stops: one step."""


def options(folder: Path, **changes: object) -> TrainOptions:
    return replace(TrainOptions("small", folder, STAGES, workers=0, threads=1, save_every=1, scales=False), **changes)


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def rows(folder: Path) -> list[dict[str, float]]:
    """Of the log, without the speed and the summary, which no two runs have in common."""
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "pictures_per_s"} for row in found if "summary" not in row]


@pytest.fixture(scope="module", autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One run of all four steps."""
    folder = tmp_path_factory.mktemp("whole")
    told: list[tuple[int, int]] = []
    trained = run(options(folder), lambda step, total, values: told.append((step, total)))
    return SimpleNamespace(folder=folder, trained=trained, weights=weights(trained.network), told=told)


def test_a_run_ends_with_a_network_to_use(whole: SimpleNamespace) -> None:
    network = whole.trained.network
    assert (whole.trained.steps, whole.trained.total) == (4, 4) and not network.training
    assert whole.told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(tensor.isfinite().all() for tensor in whole.weights.values())
    with torch.inference_mode():
        assert network.kp_detector(torch.rand(1, 3, 256, 256)).keypoints.kp.isfinite().all()


def test_the_log_has_a_note_and_one_line_a_step(whole: SimpleNamespace) -> None:
    note, *steps = rows(whole.folder)
    assert note["recipe"]["seed"] == 1 and note["recipe"]["network"]["preset"] == "small"
    assert "reconstruction" in note["note"] and "no VGG19" in note["note"]
    assert [row["step"] for row in steps] == [0, 1, 2, 3]
    for row in steps:
        parts = [value for name, value in row.items() if name not in ("step", "loss", "rate")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-3) and row["loss"] > 0
    assert "reconstruction" in steps[2] and "reconstruction" not in steps[0]
    assert steps[0]["motion_things"] > 0
    assert list(whole.folder.glob("events.out.tfevents*"))


def test_the_seed_decides(whole: SimpleNamespace, tmp_path: Path) -> None:
    again = weights(run(options(tmp_path / "again")).network)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.weights.items())
    assert rows(tmp_path / "again") == rows(whole.folder)
    one = (replace(STAGES[0], steps=1),)
    a, b = (run(options(tmp_path / str(seed), stages=one, seed=seed)).network for seed in (1, 2))
    assert not torch.equal(weights(a)["kp_detector.kp.weight"], weights(b)["kp_detector.kp.weight"])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(whole: SimpleNamespace, tmp_path: Path) -> None:
    """Stopped by the clock in the first stage, by a fault in the second; then to the end."""
    first = run(options(tmp_path, minutes=AT_ONCE))
    assert (first.steps, first.total) == (1, 4)

    def fault(step: int, total: int, values: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options(tmp_path), fault)
    last = run(options(tmp_path))
    assert last.steps == 4
    for name, tensor in last.network.state_dict().items():
        assert torch.equal(tensor, whole.weights[name]), name
    found = rows(tmp_path)
    assert [row.get("step") for row in found] == [None, 0, 1, 2, 3]
    assert found == rows(whole.folder)


def test_a_finished_run_is_not_trained_on(whole: SimpleNamespace) -> None:
    told: list[int] = []
    again = run(options(whole.folder), lambda step, *_: told.append(step))
    assert again.steps == 4 and not told
    assert all(torch.equal(tensor, whole.weights[name]) for name, tensor in again.network.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [{"seed": 2}, {"stages": STAGES[:1]}, {"weights": LossWeights(edge=9.0)}, {"picture_share": 0.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_checkpoint_of_other_options_is_refused(whole: SimpleNamespace, changes: dict[str, object]) -> None:
    before = {path.name: path.read_bytes() for path in (whole.folder / CHECKPOINT).iterdir()}
    with pytest.raises(WeightsError, match="other options"):
        run(options(whole.folder, **changes))
    assert {path.name: path.read_bytes() for path in (whole.folder / CHECKPOINT).iterdir()} == before


def test_nothing_else_is_left_in_the_folder(whole: SimpleNamespace) -> None:
    names = {path.name for path in whole.folder.iterdir() if "tfevents" not in path.name}
    assert names == {CHECKPOINT, "log.jsonl", "small.safetensors"}


def test_the_weights_say_what_they_are(whole: SimpleNamespace) -> None:
    """Half precision, with the reconstruction distance, the steps and the pictures in the card."""
    network, info = load_network(whole.folder / "small.safetensors")
    assert info == whole.trained.weights
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor.float(), whole.weights[name], rtol=1e-3, atol=1e-6), name
    with safe_open(whole.folder / "small.safetensors", "pt") as file:
        words = json.dumps(file.metadata())
    assert "no VGG19 file given" in words and "nobody's face" in words and "US 12,482,295" in words


def test_the_front_learns_alone_in_its_stage(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = weights(fresh_network(preset("small"), torch.device("cpu")))
    after = weights(run(options(tmp_path, stages=STAGES[:1], minutes=AT_ONCE)).network)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    for part in ("kp_detector.kp", "edge_predictor.edge", "generator.dense_motion_network.mask"):
        assert f"{part}.weight" in moved, part
    decoder = {name for name in moved if name.startswith("generator.") and "dense_motion" not in name}
    assert not decoder and not {name for name in moved if name.startswith("attention_module.")}


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    wrong = options(tmp_path, stages=(replace(STAGES[0], steps=1),), weights=LossWeights(edge=float("nan")))
    with pytest.raises(TrainingDiverged, match="step 0: edge is not finite") as caught:
        run(wrong)
    assert caught.value.exit_code == 4
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("size", [64, 100, 192])
def test_sizes_whose_blocks_have_no_middle_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(OptionError, match=f"{size} px.*multiple of 128"):
        run(options(tmp_path, stages=(Stage(1, 2, size, "front"),)))


def test_thumbnails_of_both_sizes_look_at_the_same_places() -> None:
    """Ramps, reduced from 128 and from 256 pixels: means are the cells' centres, variances the same blur."""
    objective = Objective(build_network("small"), LossWeights(), FixedPyramid())
    for size in (128, 256):
        place = ((torch.arange(size) + 0.5) * 64 / size - 32).double()
        objective.network.double()
        mean, square = (objective._thumbnails(x.expand(1, 3, 64, size))[0, 0, 8, 8:-8] for x in (place, place**2))
        assert torch.allclose(mean, torch.arange(8, 56).double() - 31.5, atol=1e-5), size
        blur = (square - mean**2).sqrt()
        assert torch.allclose(blur, torch.full_like(blur, 1.5 / 4), rtol=0.01), size


def test_every_loss_is_there_and_can_be_switched_off(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network("small").train()
    batch = Feed(options(tmp_path), STAGES[0], 0)[0]
    full = Objective(network, LossWeights(), FixedPyramid())(batch, STAGES[0], 7)
    off = LossWeights(**dict.fromkeys(LossWeights.__dataclass_fields__, 0.0))
    assert len(full) == 10 and all(term > 0 for term in full.values())
    none = Objective(network, off, FixedPyramid())(batch, STAGES[0], 7)
    assert none.keys() == full.keys() and all(term == 0 for term in none.values())


def test_the_fixed_pyramid_is_a_distance_and_the_same_everywhere() -> None:
    a, b = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(5)
    one, two = FixedPyramid(), FixedPyramid()
    assert one(a, a) == 0 and one(a, b) == two(a, b) > one(a, a + 0.1 * (b - a)) > 0
    assert torch.equal(one.bank, two.bank)


def test_a_file_that_is_not_vgg19_is_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="VGG19"):
        perceptual_loss(tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="VGG19"):
        perceptual_loss(tmp_path / "none.safetensors")
