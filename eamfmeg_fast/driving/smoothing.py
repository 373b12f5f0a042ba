"""One-Euro smoothing of driving keypoints (Casiez, Roussel, Vogel, CHI 2012), causal or centred."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from eamfmeg_fast.driving.base import Shot
from eamfmeg_fast.network import Keypoints

_PX = 128.0
"""Pixels of a 256-px picture in one unit of a keypoint: speeds are told in these whatever the picture's size."""
_ARM_PX = 20.0
"""A Jacobian's entries count as displacements this far from their keypoint."""
_SHORTEST_S = 1e-4
AHEAD_S, MOST_AHEAD = 0.2, 256
"""How far "centred" looks ahead in seconds, and the most frames of that: it holds twice as many."""


@dataclass(frozen=True)
class OneEuro:
    """A low pass whose cutoff rises with the speed of what it smooths.

    `y += a (x - y)` with `a = 1 / (1 + tau / dt)`, `tau = 1 / (2 pi f)` and `f = cutoff_hz + slope |speed|`; the speed
    is smoothed in the same way with `speed_cutoff_hz`. A keypoint and its Jacobian have one cutoff, from the length of
    the keypoint's own speed, so a movement is not turned. What does not change stays as it is to the last bit.

    What the defaults keep of the apex of a raised-cosine pulse with noise of 0.05 px in x and in y, the mean over many
    draws of the noise, for pulses of 0.25, 0.5 and 1 px:

        frames per second  pulse   centred           causal
        200                0.1 s   0.92, 0.94, 0.96  0.96, 0.97, 0.98
        200                0.2 s   0.98, 0.98, 0.98  0.99, 0.99, 0.99
        200                0.4 s   0.99, 0.99, 0.99  1.00, 1.00, 1.00
        25                 0.1 s   0.75, 0.82, 0.87  0.89, 0.89, 0.93
        25                 0.2 s   0.88, 0.89, 0.92  0.93, 0.94, 0.96
        25                 0.4 s   0.96, 0.96, 0.96  0.98, 0.98, 0.98

    The apex stays within one frame (causal at 200 fps: comes up to two later). Of the noise of a keypoint at rest 0.38
    (causal: 0.54) is left at 200 fps, 0.73 (0.84) at 25: a slow camera has little to smooth and much to lose.

    Attributes:
        cutoff_hz: at rest. slope: of the cutoff, in Hz per px/s at 256 px. speed_cutoff_hz: of the speed.
    """

    cutoff_hz: float = 15.0
    slope: float = 2.0
    speed_cutoff_hz: float = 10.0

    def step(self, state: _State | None, value: Tensor, time_s: float) -> _State:
        """The state after one more value `[K, 6]` in px; its `smooth` is the answer."""
        if state is None:
            return _State(time_s, value, value, torch.zeros_like(value))
        passed = max(abs(time_s - state.time_s), _SHORTEST_S)
        share = _share(torch.tensor(self.speed_cutoff_hz, dtype=value.dtype), passed)
        speed = state.speed + share * ((value - state.raw) / passed - state.speed)
        length = speed[:, :2].norm(dim=1, keepdim=True)
        share = _share(self.cutoff_hz + self.slope * length, passed)
        return _State(time_s, value, state.smooth + share * (value - state.smooth), speed)


@dataclass(frozen=True)
class _State:
    """Time in seconds; the last value, the smooth one and the smooth speed, `[K, 6]`."""

    time_s: float
    raw: Tensor
    smooth: Tensor
    speed: Tensor


def _share(cutoff_hz: Tensor, passed_s: float) -> Tensor:
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * passed_s))


def smoothed(
    shots: Iterable[Shot], find: Callable[[Shot], Keypoints], mode: str, fps: Fraction, one: OneEuro | None = None
) -> Iterator[tuple[Shot, Keypoints | None]]:
    """Every shot with its smoothed keypoints; the shots' own stay raw. Lost ones have none and change nothing.

    Args:
        find: the keypoints of a shot; called once for each, in order.
        mode: "causal" (each comes at once, and late by what the filter delays) or "centred" (forwards, then backwards
            from at least 0.2 s later, 256 frames at most: no delay of the movement). Twice that many shots are read
            before the first one comes, and no more are ever held: 80 at 200 fps, 512 at most, which is 100 MB of
            pictures at 256 px.
        fps: frames per second, for the look-ahead.
    """
    one = one or OneEuro()
    if mode == "causal":
        yield from _forward(shots, find, one)
        return
    ahead = max(1, min(MOST_AHEAD, math.ceil(AHEAD_S * fps)))
    held: list[tuple[Shot, Keypoints | None]] = []
    for pair in _forward(shots, find, one):
        held.append(pair)
        if len(held) == 2 * ahead:
            yield from _backward(held, one)[:ahead]
            del held[:ahead]
    yield from _backward(held, one)


def _forward(
    shots: Iterable[Shot], find: Callable[[Shot], Keypoints], one: OneEuro
) -> Iterator[tuple[Shot, Keypoints | None]]:
    state: _State | None = None
    for shot in shots:
        if shot.lost:
            yield shot, None
            continue
        raw = find(shot)
        state = one.step(state, _values(raw), float(shot.time))
        yield shot, _keypoints(state.smooth, raw)


def _backward(pairs: list[tuple[Shot, Keypoints | None]], one: OneEuro) -> list[tuple[Shot, Keypoints | None]]:
    state: _State | None = None
    done: list[tuple[Shot, Keypoints | None]] = []
    for shot, points in reversed(pairs):
        if points is not None:
            state = one.step(state, _values(points), float(shot.time))
            points = _keypoints(state.smooth, points)
        done.append((shot, points))
    return done[::-1]


def _values(points: Keypoints) -> Tensor:
    """One frame's keypoints and Jacobians in px, float64 `[K, 6]` on the host."""
    kp, jacobian = (part[0].detach().to("cpu", torch.float64) for part in points)
    return torch.cat([kp * _PX, jacobian.flatten(1) * _ARM_PX], dim=1)


def _keypoints(values: Tensor, like: Keypoints) -> Keypoints:
    kp, jacobian = values[:, :2] / _PX, (values[:, 2:] / _ARM_PX).unflatten(1, (2, 2))
    return Keypoints(kp[None].to(like.kp), jacobian[None].to(like.jacobian))
