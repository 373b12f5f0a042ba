"""The driver's texture is found where it was put, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from eamfmeg_fast.errors import InputError
from eamfmeg_fast.evaluate.flow_cells import grey_thumbnail
from eamfmeg_fast.evaluate.texture import TextureMeter
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip


def _measured(driving: list[np.ndarray], output: list[np.ndarray], target: np.ndarray, ghost: float) -> TextureMeter:
    meter = TextureMeter(grey_thumbnail(target))
    for one, other in zip(driving, output):
        mixed = np.clip((1 - ghost) * other + ghost * one.astype(np.float64) + 0.5, 0, 255).astype(np.uint8)
        meter.step(grey_thumbnail(one), grey_thumbnail(mixed))
    return meter


@pytest.fixture(scope="module")
def faces() -> list[list[np.ndarray]]:
    """Clips of two people who never lived, on the same action units."""
    people = [lab_clip(HELD_OUT_SEEDS[k], action_units={12: 1.0, 1: 0.7}, size=128, fps=25, seed=k) for k in (1, 4)]
    return [list(person.frames.numpy()) for person in people]


def test_a_ghost_of_five_percent(faces: list[list[np.ndarray]]) -> None:
    driving, output = faces
    clean, ghost = (_measured(driving, output, output[0], share) for share in (0.0, 0.05))
    assert abs(clean.share()) < 0.01 and clean.floor() < 0.015
    assert ghost.share() - clean.share() == pytest.approx(0.05, abs=0.015)


def test_a_ghost_on_patterns_that_have_nothing_in_common(made_up: SimpleNamespace) -> None:
    driving, output = made_up.clip(seed=3), made_up.clip(seed=4, gain=0.8)
    assert abs(_measured(driving, output, output[0], 0.0).share()) < 0.01
    assert _measured(driving, output, output[0], 0.1).share() == pytest.approx(0.1, abs=0.03)


def test_a_soft_result_is_no_ghost(faces: list[list[np.ndarray]]) -> None:
    """The driver has edges where the target has them; a blurred result must not look like the driver's inverse."""
    driving, output = faces
    soft = [cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in output]
    assert abs(_measured(driving, soft, output[0], 0.0).share()) < 0.015


def test_a_person_on_their_own_first_frame_has_no_trace(faces: list[list[np.ndarray]]) -> None:
    """A perfect result is the driving clip itself; what shows is the target's texture just as well."""
    driving, other = faces
    same = _measured(driving, driving, driving[0], 0.0)
    assert same.own() < 0.25 and np.isnan(same.share()) and np.isfinite(same.floor())
    blurred = [cv2.GaussianBlur(frame, (0, 0), 0.7) for frame in driving]
    assert np.isnan(_measured(blurred, driving, driving[0], 0.0).share())
    assert _measured(driving, other, other[0], 0.0).own() > 0.6


def test_a_driver_without_texture_leaves_no_trace(faces: list[list[np.ndarray]]) -> None:
    flat = [np.full_like(frame, 90) for frame in faces[0]]
    assert np.isnan(_measured(flat, faces[1], faces[1][0], 0.0).share())


def test_no_frames_no_figure(made_up: SimpleNamespace) -> None:
    with pytest.raises(InputError):
        TextureMeter(grey_thumbnail(made_up.clip()[0])).share()
