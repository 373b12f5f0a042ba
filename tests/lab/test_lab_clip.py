"""Clips: warping frame 0 gives every frame, labels are right, stillness is exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch.nn.functional import grid_sample

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import ACTION_UNITS, LANDMARKS, LabClip, lab_clip, render


def _warped(clip: LabClip, frame: int, way: torch.Tensor) -> torch.Tensor:
    size = clip.frames.shape[1]
    axis = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = (2.0 * (torch.stack([x, y], -1) + way) + 1.0) / size - 1.0
    first = clip.frames[:1].permute(0, 3, 1, 2).float() / 255.0
    return grid_sample(first, points[None], mode="bicubic", align_corners=False, padding_mode="border")[0]


def _psnr(clip: LabClip, frame: int, way: torch.Tensor) -> float:
    true = clip.frames[frame].permute(2, 0, 1).float() / 255.0
    error = ((_warped(clip, frame, way) - true) ** 2).mean(0)[clip.valid[frame]].mean()
    return float(-10.0 * torch.log10(error + 1e-9))


def _smooth_skin(monkeypatch: pytest.MonkeyPatch) -> None:
    """No creases: then a point of the skin keeps its colour and the displacement explains every frame."""
    monkeypatch.setattr(render, "creased", lambda skin, *_: skin)


@pytest.fixture(scope="module")
def clip() -> LabClip:
    units = {6: 0.6, 12: 1.0, 25: 0.4}
    with pytest.MonkeyPatch.context() as monkeypatch:
        _smooth_skin(monkeypatch)
        return lab_clip(12, action_units=units, size=128, fps=100, seed=4, duration_s=0.2, noisy=False)


def test_warping_the_first_frame_gives_the_apex(clip: LabClip) -> None:
    way = clip.displacement_px[clip.apex]
    true = _psnr(clip, clip.apex, way)
    assert true > 34.0
    for mutant in (-way, way.flip(-1), 0.0 * way):
        assert _psnr(clip, clip.apex, mutant) < true - 3.0


def test_shapes_and_types(clip: LabClip) -> None:
    count = clip.frames.shape[0]
    assert clip.frames.shape == (count, 128, 128, 3) and clip.frames.dtype == torch.uint8
    assert clip.displacement_px.shape == (count, 128, 128, 2) and clip.valid.shape == (count, 128, 128)
    assert clip.edges.shape == (count, 64, 64) and clip.landmarks_px.shape == (count, len(LANDMARKS), 2)
    assert clip.intensity.shape == (count, len(ACTION_UNITS))
    assert clip.fps == Fraction(100) and clip.apex_s == clip.apex / 100


def test_intensity_rises_and_falls(clip: LabClip) -> None:
    column = clip.intensity[:, ACTION_UNITS.index(12)]
    assert column.argmax() == clip.apex
    assert (column[clip.onset : clip.apex + 1].diff() > 0).all() and (
        column[clip.apex : clip.offset + 1].diff() < 0
    ).all()
    assert column[: clip.onset + 1].abs().max() == 0 and column[clip.offset :].abs().max() < 1e-6


def test_landmarks_follow_the_displacement(clip: LabClip) -> None:
    at = (2.0 * clip.landmarks_px + 1.0) / 128 - 1.0
    way = grid_sample(clip.displacement_px.permute(0, 3, 1, 2), at[:, None], align_corners=False)[:, :, 0].mT
    sure = grid_sample(clip.valid[:, None].float(), at[:, None], align_corners=False)[:, 0, 0] > 0.999
    away = (clip.landmarks_px + way - clip.landmarks_px[:1]).norm(dim=-1)
    # This person's hair ends at the jaw, so that a bilinear look there mixes hair and skin.
    sure[:, [LANDMARKS.index("jaw_left"), LANDMARKS.index("jaw_right")]] = False
    assert sure.float().mean() > 0.5 and away[sure].max() < 0.05


def test_first_frame_and_stillness_are_exactly_zero(clip: LabClip) -> None:
    assert clip.displacement_px[0].abs().max() == 0
    still = lab_clip(5, action_units={}, size=64, fps=50, drift=0.0, noisy=False)
    assert still.displacement_px.abs().max() == 0 and still.intensity.abs().max() == 0
    assert (still.frames == still.frames[:1]).all()
    moving = lab_clip(5, action_units={}, size=64, fps=50, drift=1.0, noisy=False)
    assert 0.01 < moving.displacement_px.abs().max() < 1.0


def test_same_seed_same_clip() -> None:
    once, again = (lab_clip(8, size=64, fps=50, seed=2) for _ in range(2))
    assert torch.equal(once.frames, again.frames) and torch.equal(once.displacement_px, again.displacement_px)
    other = lab_clip(8, size=64, fps=50, seed=3)
    assert other.frames.shape != once.frames.shape or not torch.equal(other.frames, once.frames)


def test_edges_are_lines_that_move_with_the_face(clip: LabClip) -> None:
    assert clip.edges.min() >= 0 and clip.edges.max() <= 1
    assert 0.02 < clip.edges[0].mean() < 0.4
    assert (clip.edges[clip.apex] - clip.edges[0]).abs().mean() < 0.05
    assert (clip.edges[clip.apex] - clip.edges[0]).abs().max() > 0.02


@pytest.mark.parametrize("extra", [{"turn": (12.0, -8.0)}, {"gaze": (0.06, 0.02)}, {"blink": 0.8}])
def test_turns_glances_and_blinks_are_exact(extra: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    _smooth_skin(monkeypatch)
    moving = lab_clip(6, action_units={}, size=128, fps=50, seed=3, drift=0.0, noisy=False, **extra)  # type: ignore[arg-type]
    far = moving.displacement_px.norm(dim=-1)
    frame = int(far.flatten(1).mean(1).argmax())
    way = moving.displacement_px[frame]
    touched = (far[frame] > 0.25) & moving.valid[frame]
    assert touched.sum() > 20
    true = moving.frames[frame].permute(2, 0, 1).float() / 255.0

    def error(tried: torch.Tensor) -> torch.Tensor:
        return ((_warped(moving, frame, tried) - true) ** 2).mean(0)[touched].mean()

    assert _psnr(moving, frame, way) > 34.0
    assert error(way) < 0.35 * min(error(0.0 * way), error(-way))


def test_blink_and_glance_move_what_they_should() -> None:
    lids = lab_clip(6, action_units={}, size=64, fps=50, seed=3, drift=0.0, noisy=False, blink=1.0)
    assert lids.intensity[:, ACTION_UNITS.index(45)].max() > 0.9 and lids.intensity[0].max() == 0
    upper, brow = (LANDMARKS.index(name) for name in ("upper_lid_left", "outer_brow_left"))
    moved = (lids.landmarks_px - lids.landmarks_px[:1]).norm(dim=-1).amax(0)
    assert moved[upper] > 1.0 > 0.1 > moved[brow]
    look = lab_clip(6, action_units={}, size=64, fps=50, seed=3, drift=0.0, noisy=False, gaze=(0.05, 0.0))
    assert (look.landmarks_px - look.landmarks_px[:1]).abs().max() < 1e-3
    assert 0.3 < look.displacement_px[look.apex].abs().max() < 3.0


def test_creases_change_the_skin_and_not_the_motion(clip: LabClip) -> None:
    units = {6: 0.6, 12: 1.0, 25: 0.4}
    lined = lab_clip(12, action_units=units, size=128, fps=100, seed=4, duration_s=0.2, noisy=False)
    assert torch.equal(lined.displacement_px, clip.displacement_px)
    changed = (lined.frames.float() - clip.frames.float()).abs().amax((1, 2, 3))
    assert changed[0] == 0 and changed[clip.apex] > 4 and changed.argmax() in range(clip.onset, clip.offset)


@pytest.mark.parametrize(
    "change",
    [
        {"gaze": (0.5, 0.0)},
        {"turn": (0.0, 40.0)},
        {"blink": -1.0},
        {"identity": -1},
        {"size": 4},
        {"fps": 5},
        {"action_units": {3: 1.0}},
        {"action_units": {12: 3.0}},
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {"identity": 1, "size": 64, "fps": 50, **change}
    with pytest.raises(OptionError):
        lab_clip(arguments.pop("identity"), **arguments)  # type: ignore[arg-type]
