"""`eamfmeg eval lab`: an engine that knows the truth is perfect, one that does nothing is not; rows and tables."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from eamfmeg_fast.cli import run
from eamfmeg_fast.config import DEFAULT_WEIGHTS, preset
from eamfmeg_fast.engine import FrameResult
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.evaluate import FIGURES, LabScore, lab, lines, record, summary
from eamfmeg_fast.evaluate.as_file import drawn_as_file
from eamfmeg_fast.evaluate.truth import to_cells
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.media import open_writer
from eamfmeg_fast.network import Keypoints, build_network, fill_seeded
from eamfmeg_fast.retargeter import Retargeter

SIZE, CELLS = 128, 32
CONFIG = replace(preset("small"), size=SIZE)


class Oracle:
    """An engine that looks everything up in the clip; `share` of the true movement, times the gain, is performed.

    Its keypoints are the number of the frame; everything is drawn `wander_px` right or left of it.
    """

    plan = SimpleNamespace(backend="oracle", decoder="none", update="dense")

    def __init__(self, clip: LabClip, share: float = 1.0, wander_px: float = 0.0) -> None:
        self.clip, self.share, self.wander_px = clip, share, wander_px
        self.gains: set[float] = set()
        self.numbers = {frame.numpy().tobytes(): t for t, frame in enumerate(clip.frames)}

    def prepare(self, picture: np.ndarray) -> SimpleNamespace:
        edges = self.clip.edges[self.numbers[picture.tobytes()]]
        kept = torch.nn.functional.adaptive_avg_pool2d(edges[None], CELLS)
        return SimpleNamespace(edge_map=kept, keypoints=self.detect(picture))

    def detect(self, picture: np.ndarray) -> Keypoints:
        number = float(self.numbers[picture.tobytes()])
        return Keypoints(torch.full((1, 2, 2), number), torch.zeros(1, 2, 2, 2))

    def step(self, state: Any, initial: Keypoints, driving: Keypoints, *, motion: str, gain: float) -> FrameResult:
        start, number = (round(float(points.kp[0, 0, 0])) for points in (initial, driving))
        assert start == 0 and motion == "relative"
        self.gains.add(gain)
        way, _ = to_cells(self.clip.displacement_px[number].numpy(), self.clip.valid[number].numpy(), CELLS)
        flow = identity_grid(CELLS, CELLS, "centres", dtype=torch.float32) + torch.from_numpy(way) * (
            self.share * gain * 2 / SIZE
        )
        flow[..., 0] += (-1) ** number * self.wander_px / 128
        shown = self.clip.frames[number if self.share == 1 else 0].numpy()
        nothing = torch.zeros(1, 1, 2)
        return FrameResult(shown, Keypoints(nothing, nothing), flow[None], torch.ones(1, 1, CELLS, CELLS))


@pytest.fixture(scope="module")
def clip() -> LabClip:
    units = {4: 1.5, 12: 1.5}
    return lab_clip(HELD_OUT_SEEDS[7], action_units=units, size=SIZE, fps=100, duration_s=0.12, noisy=False)


@cache
def seeded(gain: float | None = None) -> Retargeter:
    network = fill_seeded(build_network(CONFIG))
    return Retargeter(network, device="cpu", precision="fp32", gain=gain, still_px=None if gain is None else 0)


def knows(clip: LabClip, share: float = 1.0, wander_px: float = 0.0) -> Any:
    known = copy.copy(seeded())
    known.engine = Oracle(clip, share, wander_px)  # type: ignore[assignment]
    return known


def test_an_engine_that_knows_is_perfect(clip: LabClip) -> None:
    known = knows(clip)
    found = lab.score_clip(known, clip)
    # What is left is the flow's own resolution, 32 cells.
    assert found.psnr > 90 and found.psnr_moving > 90 > found.psnr_still
    assert found.error_share < 0.12 and found.still_error_px < 0.05 and found.motion_px > 0.5
    assert lab.score_course(known, clip) == {
        "intensity_corr": pytest.approx(1, abs=0.01),
        "intensity_gain": pytest.approx(1, abs=0.05),
        "apex_error_frames": 0,
    }
    assert known.engine.gains == {1.0}


def test_the_course_is_what_a_user_gets_by_default(clip: LabClip) -> None:
    """With another gain as the default, the rest of the truth is still measured at 1."""
    known = knows(clip)
    known.gain = 1.5
    assert lab.score_course(known, clip)["intensity_gain"] == pytest.approx(1.5, abs=0.08)
    assert known.engine.gains == {1.5}
    assert lab.score_clip(known, clip).error_share < 0.12


def test_frames_are_drawn_as_a_file_is(clip: LabClip, tmp_path: Path) -> None:
    frames, moving = list(clip.frames.numpy()[::3]), seeded(20.0)
    with open_writer(tmp_path / "clip", fps=clip.fps, size=(SIZE, SIZE)) as writer:
        for frame in frames:
            writer.write(frame)
    wanted = [frame.image for frame in moving(frames[0], tmp_path / "clip", crop="none")]
    drawn = list(drawn_as_file(moving, frames[0], frames, clip.fps))
    assert len(drawn) == len(frames) and (np.stack([result.image for result in drawn]) == np.stack(wanted)).all()
    assert np.abs(wanted[-1].astype(int) - wanted[len(wanted) // 2]).max() > 3
    assert len({float(result.flow.sum()) for result in drawn}) > len(frames) // 2


def test_jitter_is_that_of_keypoints_and_of_what_is_drawn() -> None:
    still = lab_clip(HELD_OUT_SEEDS[7], action_units={}, size=SIZE, fps=50, duration_s=0.065, drift=0.0)
    quiet, shaky = (lab.score_jitter(knows(still, wander_px=px), still) for px in (0.0, 0.1))
    assert quiet["jitter_processed_px"] == pytest.approx(0, abs=1e-4)
    assert shaky["jitter_processed_px"] == pytest.approx(0.1, rel=0.02)
    assert quiet["jitter_px"] == shaky["jitter_px"] > 100


def test_an_engine_that_does_nothing_is_not(clip: LabClip) -> None:
    found = lab.score_clip(knows(clip, 0.0), clip)
    assert found.error_share == pytest.approx(1, abs=1e-3) and found.psnr_moving == found.psnr_still
    over_time = lab.score_course(knows(clip, 0.0), clip)
    assert over_time["intensity_gain"] == over_time["intensity_corr"] == 0 and over_time["apex_error_frames"] > 5


def test_half_the_movement_is_half_as_strong(clip: LabClip) -> None:
    found = lab.score_course(knows(clip, 0.5), clip)
    assert found["intensity_gain"] == pytest.approx(0.5, abs=0.03) and found["apex_error_frames"] == 0
    assert lab.score_clip(knows(clip, 0.5), clip).error_share == pytest.approx(0.5, abs=0.05)


def test_px_are_those_of_256(clip: LabClip) -> None:
    true = np.linalg.norm(clip.displacement_px[1:].numpy(), axis=-1) * 256 / SIZE
    most = lab.score_clip(knows(clip), clip).motion_px
    assert 0.5 < most < true.max() and most > true.mean()


def test_edges_of_the_face_and_of_another(clip: LabClip) -> None:
    other = lab_clip(HELD_OUT_SEEDS[8], action_units={}, size=SIZE, fps=25, duration_s=0.08, noisy=False)
    found = lab.score_edges(knows(clip), clip, other)
    assert found["edge_f"] == 1 and found["edge_chance"] < 0.7
    without = SimpleNamespace(config=replace(CONFIG, edge=False, attention=None), engine=None)
    assert lab.score_edges(without, clip, other) == {}


def test_another_person_does_the_same(clip: LabClip) -> None:
    """The twin's own apex is the truth of the cross-person figures."""
    twin = lab._twin(clip, HELD_OUT_SEEDS[8], SIZE, 0)
    amounts = clip.intensity[clip.apex]
    assert twin.identity == HELD_OUT_SEEDS[8] and torch.equal(amounts > 0, twin.intensity[twin.apex] > 0)
    assert torch.allclose(amounts, twin.intensity[twin.apex], atol=0.3)

    for share in (1.0, 0.0):
        known = knows(twin, share)
        known.engine.numbers |= {
            clip.frames[0].numpy().tobytes(): 0,
            clip.frames[clip.apex].numpy().tobytes(): twin.apex,
        }
        found = lab.score_cross(known, clip, twin)
        assert found["cross_likeness"] == pytest.approx(share, abs=0.01)
        assert found["cross_strength"] == pytest.approx(share, abs=0.01)
        assert found["identity_ssim"] > 0.97 and found["identity_colour"] < 0.25


def test_a_result_that_shows_the_driver_lost_the_identity(clip: LabClip) -> None:
    other = lab_clip(HELD_OUT_SEEDS[8], action_units={12: 1.0}, size=SIZE, fps=25, duration_s=0.08, noisy=False)
    known = knows(clip)
    known.engine.prepare = lambda picture: None
    found = lab.score_cross(known, clip, other)
    assert found["identity_ssim"] < 0.6 and found["identity_colour"] == 1 and found["cross_likeness"] < 0.95


def scores() -> list[LabScore]:
    one = LabScore(7, 40, 40.0, 33.0, 29.0, 0.2, 0.5, 0.4, 0.05, 0.9, 0.8, 1.0)
    return [one, replace(one, identity=8, end_point_error_px=0.1, motion_px=1.0, error_share=0.1, edge_f=0.5)]


def test_means_leave_out_what_was_not_measured() -> None:
    found = summary(scores())
    assert found["edge_f"] == 0.5 and np.isnan(found["jitter_px"]) and "identity" not in found
    assert found["error_share"] == pytest.approx(0.3 / 1.5)


def test_the_table_has_every_figure() -> None:
    assert {*FIGURES, "identity", "frames"} == set(scores()[0].to_dict())
    text = "\n".join(lines(scores()))
    assert all(figure.words in text for figure in FIGURES.values())
    share = next(line for line in text.splitlines() if "share of the true motion" in line)
    assert share.split() == "share of the true motion 20 % 10 % 40 % 25 % or less".split()


def test_no_clips_are_refused() -> None:
    with pytest.raises(OptionError, match="clips=0"):
        list(lab.score_lab(SimpleNamespace(config=CONFIG), 0))  # type: ignore[arg-type]


def test_rows_are_added_with_their_circumstances(tmp_path: Path) -> None:
    path = tmp_path / "results" / "lab.jsonl"
    for value in (1.23456789, float("nan")):
        record.append_row(path, record.circumstances() | {"mean": {"psnr": value, "clips": 3}, "list": [value]})
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["mean"] == {"psnr": 1.2346, "clips": 3} and second["mean"]["psnr"] is None and second["list"] == [None]
    assert first["commit"] and "cores" in first["machine"] and len(first["date"]) == 10


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    def score(retargeter: Retargeter, clips: int, *, seed: int, noisy: bool) -> Iterator[LabScore]:
        asked.append((retargeter.config.preset, clips, seed, noisy))
        yield from scores()

    monkeypatch.setattr("eamfmeg_fast.evaluate.score_lab", score)
    return asked


def test_the_command_shows_a_table_and_keeps_a_row(
    measured: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lab.jsonl"
    assert run(["eval", "lab", "--clips", "2", "--seed", "3", "--no-noise", "--out", str(out)]) == 0
    assert "share of the true motion" in capsys.readouterr().out and measured == [(DEFAULT_WEIGHTS, 2, 3, False)]
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["preset"] == DEFAULT_WEIGHTS and row["clips"] == 2 and row["mean"]["jitter_px"] is None
    assert row["commit"] == record.commit() and row["machine"] == record.machine_class()
    assert len(row["weights_sha256"]) == len(row["content_sha256"]) == 64 and not row["noise"]


def test_a_row_that_cannot_be_kept_is_refused_before_measuring(
    measured: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "file" / "lab.jsonl", tmp_path / "pipe"):
        assert run(["eval", "lab", "--out", str(place)]) == 2 and measured == []
        assert capsys.readouterr().err.count("\n") == 1
    record.check_place(tmp_path / "new" / "lab.jsonl")
    assert not list((tmp_path / "new").iterdir())


def test_the_command_speaks_json(measured: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "lab", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["identity"] for row in found["clips"]] == [7, 8] and found["mean"]["edge_f"] == 0.5
    assert found["clips"][0]["edge_f"] is None and measured == [(DEFAULT_WEIGHTS, 8, 0, True)]


@pytest.mark.slow
def test_every_figure_is_measured_on_an_untrained_network() -> None:
    found = lab.score_person(seeded(), HELD_OUT_SEEDS[3], HELD_OUT_SEEDS[4], fps=25)
    assert not [name for name, value in found.to_dict().items() if not np.isfinite(value)]
    assert found.error_share > 0.5 and abs(found.edge_f) < 0.9 and found.jitter_px > 0
    assert found.jitter_processed_px != pytest.approx(found.jitter_px, rel=1e-3)
