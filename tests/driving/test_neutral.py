"""The neutral face is the mean over the frames in which nothing moves yet."""

from __future__ import annotations

import math

import pytest
import torch

from eamfmeg_fast.driving.neutral import steadied
from eamfmeg_fast.network import Keypoints

FPS, COUNT = 200, 20


def face(shift_px: float, noise: float = 0.0, seed: int = 0) -> Keypoints:
    made = torch.Generator().manual_seed(seed)
    base = torch.linspace(-0.5, 0.5, 20).view(1, 10, 2)
    kp = base + (shift_px + noise * torch.randn(1, 10, 2, generator=made)) / 128
    return Keypoints(kp, torch.eye(2).expand(1, 10, 2, 2) * (1 + shift_px / 100))


def opening(course: torch.Tensor, count: int, noise: float = 0.0, seed: int = 0) -> list[Keypoints]:
    """`count` keypoints, of which two go `course` `[T]`, in px, in different directions."""
    made = torch.Generator().manual_seed(seed)
    away = noise * torch.randn(len(course), count, 2, generator=made)
    away[:, 3] += course[:, None] * torch.tensor([0.6, 0.8])
    away[:, 7] += course[:, None] * torch.tensor([0.0, -1.0])
    jacobian = torch.eye(2).expand(1, count, 2, 2)
    return [Keypoints(kp[None] / 128, jacobian) for kp in away]


def rising(px: float, start_s: float, smooth: bool) -> torch.Tensor:
    """Within 0.1 s from `start_s`, straight or as half a cosine."""
    part = ((torch.arange(COUNT) / FPS - start_s) / 0.1).clamp(0, 1)
    return px * (0.5 - 0.5 * torch.cos(math.pi * part) if smooth else part)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("start_s", [0.0, 0.04])
@pytest.mark.parametrize("px", [0.3, 0.5, 1.0, 1.4, 2.0])
@pytest.mark.parametrize("count", [10, 20])
def test_two_keypoints_that_move_are_enough(count: int, px: float, start_s: float, smooth: bool) -> None:
    course = rising(px, start_s, smooth)
    mean, averaged = steadied(opening(course, count))
    assert float(mean.kp.norm(dim=-1).max()) * 128 < 0.08
    assert averaged == 1 if px >= 1 and not start_s else averaged >= 5
    for seed in range(10):
        _, averaged = steadied(opening(course, count, 0.05, seed))
        assert float(course[:averaged].mean()) < 0.08


def test_a_clip_that_moves_at_once_gives_its_first_frame() -> None:
    first, *others = opening(rising(1.4, 0.0, False), 10, 0.05)
    mean, averaged = steadied([first, *others])
    assert averaged == 1 and torch.equal(mean.kp, first.kp) and torch.equal(mean.jacobian, first.jacobian)


def test_what_comes_back_within_the_opening_is_seen() -> None:
    there = torch.sin(torch.linspace(0, math.pi, COUNT))
    assert steadied(opening(there, 10))[1] == 1


def test_a_slow_drift_leaves_the_first_quarter() -> None:
    mean, averaged = steadied(opening(torch.linspace(0, 0.15, COUNT), 10))
    assert averaged == COUNT // 4 and float(mean.kp.norm(dim=-1).max()) * 128 < 0.03


def test_it_averages_noise() -> None:
    """Of a face at rest the whole opening, but for a rare draw of the noise."""
    whole, left, alone = 0, 0.0, 0.0
    for seed in range(40):
        frames = opening(torch.zeros(COUNT), 20, 0.05, seed)
        mean, averaged = steadied(frames)
        whole, left, alone = (
            whole + (averaged == COUNT),
            left + mean.kp.square().mean(),
            alone + frames[0].kp.square().mean(),
        )
    assert whole >= 36 and left < 0.3**2 * alone


def test_it_ends_where_the_face_begins_to_move() -> None:
    still = [face(0.0, 0.02, seed) for seed in range(4)]
    alone, count = steadied(still[:3])
    moving = steadied([*still, face(2.0), face(0.0)])
    assert moving[1] == count == 3
    assert torch.equal(moving[0].kp, alone.kp) and torch.equal(moving[0].jacobian, alone.jacobian)
    assert torch.equal(steadied([face(0.0), face(3.0)])[0].kp, face(0.0).kp)


def test_equal_frames_are_kept_to_the_last_bit() -> None:
    same, count = steadied([face(0.3)] * 7)
    assert count == 7 and torch.equal(same.kp, face(0.3).kp)
    one, count = steadied(iter([face(0.3)]))
    assert count == 1 and torch.equal(one.jacobian, face(0.3).jacobian)
