"""The neutral face is the mean over the frames in which nothing moves yet."""

from __future__ import annotations

import torch

from eamfmeg_fast.driving.neutral import steadied
from eamfmeg_fast.network import Keypoints


def face(shift_px: float, noise: float = 0.0, seed: int = 0) -> Keypoints:
    made = torch.Generator().manual_seed(seed)
    base = torch.linspace(-0.5, 0.5, 20).view(1, 10, 2)
    kp = base + (shift_px + noise * torch.randn(1, 10, 2, generator=made)) / 128
    return Keypoints(kp, torch.eye(2).expand(1, 10, 2, 2) * (1 + shift_px / 100))


def test_it_averages_noise() -> None:
    frames = [face(0.0, 0.1, seed) for seed in range(20)]
    exact = face(0.0).kp
    assert (steadied(frames).kp - exact).std() < 0.4 * (frames[0].kp - exact).std()


def test_it_ends_where_the_face_begins_to_move() -> None:
    still = [face(0.0, 0.05, seed) for seed in range(4)]
    alone = steadied(still)
    moving = steadied([*still, face(2.0), face(0.0)])
    assert torch.equal(moving.kp, alone.kp) and torch.equal(moving.jacobian, alone.jacobian)
    assert torch.equal(steadied([face(0.0), face(3.0)]).kp, face(0.0).kp)


def test_equal_frames_are_kept_to_the_last_bit() -> None:
    assert torch.equal(steadied([face(0.3)] * 7).kp, face(0.3).kp)
    assert torch.equal(steadied(iter([face(0.3)])).jacobian, face(0.3).jacobian)
