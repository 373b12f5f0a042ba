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
_AHEAD_S, _MOST_AHEAD = 0.4, 64


@dataclass(frozen=True)
class OneEuro:
    """A low pass whose cutoff rises with the speed of what it smooths.

    `y += a (x - y)` with `a = 1 / (1 + tau / dt)`, `tau = 1 / (2 pi f)` and `f = cutoff_hz + slope |speed|`; the speed
    is smoothed in the same way with `speed_cutoff_hz`. What does not change stays as it is to the last bit.

    Attributes:
        cutoff_hz: at rest. slope: of the cutoff, in Hz per px/s at 256 px; the defaults are measured by
            `benchmarks/steadying.py`. speed_cutoff_hz: the paper's 1 Hz.
    """

    cutoff_hz: float = 1.0
    slope: float = 2.0
    speed_cutoff_hz: float = 1.0

    def step(self, state: _State | None, value: Tensor, time_s: float) -> _State:
        """The state after one more value `[K, 6]` in px; its `smooth` is the answer."""
        if state is None:
            return _State(time_s, value, value, torch.zeros_like(value))
        passed = max(abs(time_s - state.time_s), _SHORTEST_S)
        share = _share(torch.tensor(self.speed_cutoff_hz, dtype=value.dtype), passed)
        speed = state.speed + share * ((value - state.raw) / passed - state.speed)
        share = _share(self.cutoff_hz + self.slope * speed.abs(), passed)
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
            from at least 0.4 s later, 64 frames at most: no delay of the movement; that many shots are held).
        fps: frames per second, for the look-ahead.
    """
    one = one or OneEuro()
    if mode == "causal":
        yield from _forward(shots, find, one)
        return
    ahead = max(1, min(_MOST_AHEAD, math.ceil(_AHEAD_S * fps)))
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
