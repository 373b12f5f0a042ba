"""Lids and lips: slits whose edges move apart, with the skin on both sides stretched exactly and invertibly."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eamfmeg_fast.lab.action_units import LID_DROP, LID_RISE, LIP_GAP_LOWER, LIP_GAP_UPPER, aperture_change
from eamfmeg_fast.lab.anatomy import lid_curves, mouth_line
from eamfmeg_fast.lab.identity import Shape

Tensor = torch.Tensor

LID_REACH = (0.12, 0.12)
_HIGHEST = -0.1
"""How far a lid can be lifted: less than the skin that gives way above it, which would fold."""
LIP_REACH = (0.16, 0.28)
_LID_FOLLOWS = 0.7
"""The upper lid follows the eyeball up and down by this part of the way."""


@dataclass(frozen=True)
class Opening:
    """How far the slits differ from neutral: lids [B, 2] (left, right), lips [B, 1]; head units."""

    lid_drop: Tensor
    lid_rise: Tensor
    gap_upper: Tensor
    gap_lower: Tensor


OPENINGS = ("lid_drop", "lid_rise", "gap_upper", "gap_lower")


@dataclass(frozen=True)
class Slit:
    """Edges of one slit: neutral ones and how far each has moved, y in head units, all of one shape."""

    upper: Tensor
    lower: Tensor
    upper_moved: Tensor
    lower_moved: Tensor

    def backward(self, y: Tensor, reach: tuple[float, float]) -> Tensor:
        """Offset that takes y on the moved face to y on the neutral one (exactly zero where nothing moved)."""
        above = (y - (self.upper - reach[0])).clamp(min=0.0).minimum(reach[0] + self.upper_moved)
        below = (self.lower + reach[1] - y).clamp(min=0.0).minimum(reach[1] - self.lower_moved)
        middle = 0.5 * (self.upper + self.upper_moved + self.lower + self.lower_moved)
        return torch.where(
            y <= middle,
            -above * self.upper_moved / (reach[0] + self.upper_moved),
            -below * self.lower_moved / (reach[1] - self.lower_moved),
        )

    def forward(self, y: Tensor, reach: tuple[float, float]) -> Tensor:
        """Offset that takes y on the neutral face to y on the moved one; the inverse of `backward` on skin."""
        above = (y - (self.upper - reach[0])).clamp(0.0, reach[0])
        below = (self.lower + reach[1] - y).clamp(0.0, reach[1])
        middle = 0.5 * (self.upper + self.lower)
        return torch.where(y <= middle, above * self.upper_moved / reach[0], below * self.lower_moved / reach[1])

    def cover(self, y: Tensor, pixel: Tensor) -> Tensor:
        """Part of a pixel at y that looks through the slit, 0..1; `pixel` is its size in head units."""
        top, bottom = self.upper + self.upper_moved, self.lower + self.lower_moved
        inside = torch.minimum(y - top, bottom - y) / pixel + 0.5
        return inside.clamp(0.0, 1.0) * ((bottom - top) / pixel).clamp(0.0, 1.0)


def opening(intensity: Tensor, gaze: Tensor | None = None) -> Opening:
    """Slit changes of an expression: intensity float32 [B, A, 2] (left, right), gaze [B, 2] in head units."""
    sides = intensity.transpose(1, 2)
    both = intensity.mean(2)[:, None]
    drop = aperture_change(sides, LID_DROP)
    if gaze is not None:
        drop = drop + _LID_FOLLOWS * gaze[:, 1:]
    return Opening(
        drop.clamp(min=_HIGHEST), aperture_change(sides, LID_RISE),
        aperture_change(both, LIP_GAP_UPPER), aperture_change(both, LIP_GAP_LOWER),
    )  # fmt: skip


def eye_slit(shape: Shape, x: Tensor, change: Opening) -> Slit:
    """The eye slit over signed x [B, h, w]: the left eye's for x < 0, the right eye's otherwise."""
    upper, lower, profile = lid_curves(shape, x.abs())
    left = x < 0
    drop = torch.where(left, change.lid_drop[:, :1, None], change.lid_drop[:, 1:, None]) * profile
    rise = torch.where(left, change.lid_rise[:, :1, None], change.lid_rise[:, 1:, None]) * profile
    lower_moved = -torch.minimum(rise, 0.7 * (lower - upper))
    upper_moved = torch.minimum(drop, lower + lower_moved - upper)
    return Slit(upper, lower, upper_moved, lower_moved)


def mouth_slit(shape: Shape, x: Tensor, change: Opening) -> Slit:
    """The slit between the lips over x [B, h, w]; closed on a neutral face."""
    line, profile = mouth_line(shape, x.abs())
    return Slit(line, line, -change.gap_upper[:, :, None] * profile, change.gap_lower[:, :, None] * profile)
