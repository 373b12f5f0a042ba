"""The One-Euro filter against what its equations give by hand, causal and centred."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from eamfmeg_fast.driving import DrivingOptions, OneEuro, Shot, smoothed
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.network import Keypoints

FPS = Fraction(200)


def shots(values: np.ndarray, lost: tuple[int, ...] = ()) -> list[Shot]:
    """One keypoint whose x is `values`, in px at 256."""
    made = []
    for index, value in enumerate(values):
        kp = torch.tensor([[[value / 128, 0.25]]], dtype=torch.float64)
        points = Keypoints(kp, torch.eye(2, dtype=torch.float64)[None, None])
        made.append(Shot(index, index / FPS, keypoints=points, lost=index in lost))
    return made


def find(shot: Shot) -> Keypoints:
    assert shot.keypoints is not None
    return shot.keypoints


def run(values: np.ndarray, mode: str, one: OneEuro | None = None) -> np.ndarray:
    pairs = list(smoothed(shots(values), find, mode, FPS, one))
    return np.array([float(points.kp[0, 0, 0]) * 128 for _, points in pairs if points is not None])


def test_without_slope_it_is_the_exponential_of_the_paper() -> None:
    out = run(np.r_[0.0, np.ones(50)], "causal", OneEuro(cutoff_hz=3.0, slope=0.0))
    share = 1 / (1 + 200 / (2 * math.pi * 3.0))
    assert np.allclose(out, 1 - (1 - share) ** np.arange(51), atol=1e-9)


def test_the_cutoff_rises_with_the_smoothed_speed() -> None:
    """Second frame by hand: speed 1 px in 5 ms, smoothed at 1 Hz from 0."""
    speed = 200.0 / (1 + 200 / (2 * math.pi))
    share = 1 / (1 + 200 / (2 * math.pi * (1.0 + 0.5 * speed)))
    assert np.isclose(run(np.array([0.0, 1.0]), "causal", OneEuro(1.0, 0.5))[1], share, atol=1e-9)


@pytest.mark.parametrize("mode", ["causal", "centred"])
def test_stillness_stays_to_the_last_bit(mode: str) -> None:
    given = shots(np.full(300, 37.3))
    for shot, points in smoothed(given, find, mode, FPS):
        assert points is not None and torch.equal(points.kp, find(shot).kp)
        assert torch.equal(points.jacobian, find(shot).jacobian)


@pytest.mark.parametrize("mode", ["causal", "centred"])
def test_noise_shrinks(mode: str) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 400)
    assert run(noise, mode).std() < 0.6 * noise.std()


def test_centred_does_not_shift_an_apex_and_causal_does() -> None:
    pulse = 2 * np.exp(-(((np.arange(161) - 80) / 12.0) ** 2))
    centred, causal = run(pulse, "centred"), run(pulse, "causal")
    assert abs(int(centred.argmax()) - 80) <= 1 and centred.max() > 1.7
    assert causal.argmax() > centred.argmax()


def test_a_long_clip_is_smoothed_the_same_whatever_follows() -> None:
    values = np.random.default_rng(2).normal(0, 1, 500).cumsum() / 10
    assert np.array_equal(run(values, "centred")[:200], run(np.r_[values, values + 5], "centred")[:200])


def test_lost_frames_pass_through_in_order() -> None:
    pairs = list(smoothed(shots(np.arange(30.0), lost=(4, 5, 29)), find, "centred", FPS))
    assert [shot.index for shot, _ in pairs] == list(range(30))
    assert [shot.index for shot, points in pairs if points is None] == [4, 5, 29]


def test_no_more_shots_are_held_than_it_says() -> None:
    alive: list[weakref.ref[Shot]] = []
    most = 0

    def camera() -> Iterator[Shot]:
        nonlocal most
        for shot in iter(shots(np.zeros(1))[0] for _ in range(600)):
            alive.append(weakref.ref(shot))
            most = max(most, sum(ref() is not None for ref in alive[-200:]))
            yield shot
            del shot

    count = sum(1 for _ in smoothed(camera(), find, "centred", FPS))
    assert count == 600 and most <= 2 * 64 + 66


def test_unknown_words_are_refused() -> None:
    with pytest.raises(OptionError, match="smoothing"):
        DrivingOptions(smoothing="much")
