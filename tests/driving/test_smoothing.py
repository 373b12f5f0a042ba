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
    assert np.isclose(run(np.array([0.0, 1.0]), "causal", OneEuro(1.0, 0.5, 1.0))[1], share, atol=1e-9)


@pytest.mark.parametrize("mode", ["causal", "centred"])
def test_stillness_stays_to_the_last_bit(mode: str) -> None:
    given = shots(np.full(300, 37.3))
    for shot, points in smoothed(given, find, mode, FPS):
        assert points is not None and torch.equal(points.kp, find(shot).kp)
        assert torch.equal(points.jacobian, find(shot).jacobian)


@pytest.mark.parametrize(("mode", "left"), [("causal", 0.6), ("centred", 0.45)])
def test_noise_shrinks(mode: str, left: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 400)
    assert run(noise, mode).std() < left * noise.std()


def test_a_movement_is_not_turned() -> None:
    """A slow coordinate passes as fast as the quick one of the same keypoint."""
    pulse = np.exp(-(((np.arange(81) - 40) / 8.0) ** 2))
    turned = shots(pulse)
    for shot, value in zip(turned, pulse, strict=True):
        shot.keypoints = Keypoints(torch.tensor([[[value, value / 8]]], dtype=torch.float64) / 128, find(shot).jacobian)
    for _, points in smoothed(turned, find, "causal", FPS):
        assert points is not None
        x, y = (points.kp[0, 0] * 128).tolist()
        assert np.isclose(y, x / 8, atol=1e-12)


LEAST = {  # of the apex of 0.25, 0.5 and 1 px, by frames per second and length in s; as the docstring of OneEuro tells
    (200, 0.1): (0.90, 0.92, 0.95),
    (200, 0.2): (0.95, 0.95, 0.96),
    (200, 0.4): (0.97, 0.98, 0.98),
    (25, 0.1): (0.73, 0.80, 0.85),
    (25, 0.2): (0.86, 0.88, 0.90),
    (25, 0.4): (0.93, 0.95, 0.95),
}


@pytest.mark.parametrize(("px", "part"), [(0.25, 0), (0.5, 1), (1.0, 2)])
@pytest.mark.parametrize(("fps", "length_s"), LEAST)
def test_a_micro_expression_keeps_its_apex(fps: int, length_s: float, px: float, part: int) -> None:
    """A raised cosine with noise, many keypoints at once: their mean shows what the filter does to the movement."""
    count, half = 400, round(0.3 * fps)
    times = torch.arange(-half, half + 1, dtype=torch.float64) / fps
    pulse = px * (0.5 + 0.5 * torch.cos(2 * math.pi * times / length_s)) * (times.abs() < length_s / 2)
    noise = torch.randn(len(times), count, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 0.05
    way = torch.tensor([0.6, -0.8], dtype=torch.float64)
    jacobian = torch.eye(2, dtype=torch.float64).expand(1, count, 2, 2)
    seen = [Keypoints(kp[None] / 128, jacobian) for kp in pulse[:, None, None] * way + noise]
    given = [Shot(i, Fraction(i, fps), keypoints=points) for i, points in enumerate(seen)]
    pairs = smoothed(given, find, "centred", Fraction(fps))
    course = torch.stack([(points.kp[0] * 128 @ way).mean() for _, points in pairs if points is not None])
    assert LEAST[fps, length_s][part] * px <= float(course.max()) < 1.03 * px
    assert abs(int(course.argmax()) - half) <= 1


def test_centred_does_not_shift_an_apex_and_causal_does() -> None:
    pulse = 2 * np.exp(-(((np.arange(161) - 80) / 12.0) ** 2))
    centred, causal = run(pulse, "centred"), run(pulse, "causal")
    assert abs(int(centred.argmax()) - 80) <= 1 and centred.max() > 1.95
    assert causal.argmax() > centred.argmax()


def test_a_long_clip_is_smoothed_the_same_whatever_follows() -> None:
    values = np.random.default_rng(2).normal(0, 1, 500).cumsum() / 10
    assert np.array_equal(run(values, "centred")[:200], run(np.r_[values, values + 5], "centred")[:200])


def test_lost_frames_pass_through_in_order() -> None:
    pairs = list(smoothed(shots(np.arange(30.0), lost=(4, 5, 29)), find, "centred", FPS))
    assert [shot.index for shot, _ in pairs] == list(range(30))
    assert [shot.index for shot, points in pairs if points is None] == [4, 5, 29]


@pytest.mark.parametrize(("fps", "ahead"), [(25, 5), (200, 40), (5000, 256)])
def test_no_more_shots_are_held_than_it_says(fps: int, ahead: int) -> None:
    """The look-ahead is 0.2 s at every rate, up to a bound."""
    alive: list[weakref.ref[Shot]] = []
    most, read, before = 0, 0, 0

    def camera() -> Iterator[Shot]:
        nonlocal most, read
        for shot in iter(shots(np.zeros(1))[0] for _ in range(800)):
            alive.append(weakref.ref(shot))
            most, read = max(most, sum(ref() is not None for ref in alive[-700:])), read + 1
            yield shot
            del shot

    count = 0
    for _ in smoothed(camera(), find, "centred", Fraction(fps)):
        before, count = before or read, count + 1
    assert count == 800 and before == 2 * ahead and most <= 2 * ahead + 2


def test_unknown_words_are_refused() -> None:
    with pytest.raises(OptionError, match="smoothing"):
        DrivingOptions(smoothing="much")
