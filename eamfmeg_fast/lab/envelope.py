"""Time course of one micro-expression: rise to the apex, fall back, stillness around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.seeds import generator

Tensor = torch.Tensor

SHORTEST_S, LONGEST_S = 0.065, 0.5
_FPS_RANGE = (25, 1000)


@dataclass(frozen=True)
class Envelope:
    """Amount 0..1 of the expression in every frame, and the frame numbers of its onset, apex and offset.

    amount: float32 [T]; 0 up to the onset and from the offset on, 1 at the apex.
    """

    amount: Tensor
    onset: int
    apex: int
    offset: int
    fps: Fraction


def minimum_jerk(part: Tensor) -> Tensor:
    """Smoothest course from 0 to 1 over [0, 1]: 10 t^3 - 15 t^4 + 6 t^5, held outside."""
    t = part.clamp(0.0, 1.0)
    return t * t * t * (10.0 + t * (6.0 * t - 15.0))


def draw_envelope(seed: int, fps: int | Fraction, duration_s: float | None = None) -> Envelope:
    """Envelope of a seed.

    Args:
        seed: number it is drawn from.
        fps: frames per second, 25 to 1000.
        duration_s: seconds from onset to offset, 0.065 to 0.5; None draws it. It is rounded to whole frames.

    Raises:
        OptionError: fps or duration are out of range.
    """
    rate = Fraction(fps)
    if not _FPS_RANGE[0] <= rate <= _FPS_RANGE[1]:
        raise OptionError(
            f"fps={fps}", f"{_FPS_RANGE[0]} to {_FPS_RANGE[1]}", "Micro-expressions are filmed at 100 or 200."
        )
    draw = torch.rand(4, generator=generator(seed, 0xE7)).tolist()
    length = SHORTEST_S + (LONGEST_S - SHORTEST_S) * draw[0] if duration_s is None else float(duration_s)
    if not SHORTEST_S <= length <= LONGEST_S:
        raise OptionError(
            f"duration_s={duration_s}", f"{SHORTEST_S} to {LONGEST_S} seconds", "Longer is no micro-expression."
        )
    fewest, most = max(2, math.ceil(SHORTEST_S * rate)), math.floor(LONGEST_S * rate)
    frames = min(max(round(length * rate), fewest), most)
    rise = min(max(round(frames * (0.3 + 0.25 * draw[1])), 1), frames - 1)
    onset = max(2, round((0.08 + 0.15 * draw[2]) * rate))
    tail = max(2, round((0.08 + 0.15 * draw[3]) * rate))
    apex, offset = onset + rise, onset + frames
    time = torch.arange(offset + tail + 1, dtype=torch.float32)
    up, down = minimum_jerk((time - onset) / rise), minimum_jerk((time - apex) / (frames - rise))
    return Envelope(torch.where(time <= apex, up, 1.0 - down), onset, apex, offset, rate)
