"""What the faces of training pairs do: emotions, single action units, blinks, glances, uneven sides."""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.action_units import ACTION_UNITS, EMOTIONS, intensity_vector
from eamfmeg_fast.lab.motion import Expression, nose_turn
from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.seeds import Draw

Tensor = torch.Tensor

FURTHEST_TURN = 0.262
"""Yaw and pitch stay within this, radians (15 degrees)."""
_LIDS: tuple[tuple[int, float, float], ...] = (
    (45, 0.25, 1.15),
    (45, 0.7, 1.1),
    (43, 0.3, 1.4),
    (5, 0.3, 1.0),
    (7, 0.4, 1.3),
)
"""Movements of the lids that are as likely as each other: unit, least and most intensity."""


def _random_units(draw: Draw) -> Tensor:
    """One to four units, [B, A]."""
    count = (1.0 + 4.0 * draw.unit()).floor()[:, 0]
    rank = torch.cat([draw.unit() for _ in ACTION_UNITS], -1)[:, 0]
    strength = torch.cat([draw.unit() for _ in ACTION_UNITS], -1)[:, 0]
    return strength * (rank.argsort(1).argsort(1) < count)


def _emotion(draw: Draw) -> Tensor:
    """One of EMOTIONS, each unit a little stronger or weaker, [B, A]."""
    table = torch.stack([intensity_vector(units) for units in EMOTIONS.values()])
    pick = (draw.unit()[:, 0, 0] * len(table)).long().clamp(max=len(table) - 1)
    vary = torch.cat([draw.uniform(0.6, 1.25) for _ in ACTION_UNITS], -1)[:, 0]
    strength = draw.uniform(0.3, 1.3)[:, 0]
    return table.to(pick.device)[pick] * vary * strength


def _lids(draw: Draw) -> Tensor:
    """A blink, a droop, wide or narrowed eyes, [B, A]."""
    pick = (draw.unit()[:, 0] * len(_LIDS)).long().clamp(max=len(_LIDS) - 1)
    part = draw.unit()[:, 0]
    out = torch.zeros(part.shape[0], len(ACTION_UNITS), device=part.device)
    for number, (unit, low, high) in enumerate(_LIDS):
        column = ACTION_UNITS.index(unit)
        out[:, column] += ((pick == number) * (low + (high - low) * part))[:, 0]
    return out


def _sides(draw: Draw) -> Tensor:
    """How much of each unit either side shows, [B, A, 2]; a third of them uneven, a few on one side only."""
    rows = []
    for _ in ACTION_UNITS:
        lack = draw.chance(0.35) * draw.uniform(0.1, 0.9)
        lack = torch.maximum(lack, draw.chance(0.10))
        left = draw.chance(0.5)
        rows.append(torch.cat([1.0 - lack * left, 1.0 - lack * (1.0 - left)], -1))
    return torch.cat(rows, 1)


def draw_expression(draw: Draw, big: Tensor, active: Tensor, lids: Tensor) -> Tensor:
    """Intensities of one frame, float32 [B, A, 2].

    Args:
        draw: where the numbers come from; uses up to 160.
        big: 1 where movements are large, [B, 1, 1].
        active: 0 keeps the face neutral, [B, 1, 1].
        lids: 1 adds a movement of the lids, [B, 1, 1].
    """
    units = torch.where(draw.chance(0.35)[:, 0] > 0.5, _emotion(draw), _random_units(draw))
    units = units * (1.0 + draw.unit() * big)[:, 0] * active[:, 0]
    # A pair in six has the movement of the lids alone.
    units = units * (1.0 - (draw.chance(0.3) * lids)[:, 0])
    units = torch.maximum(units, _lids(draw) * lids[:, 0])
    return units.clamp(max=2.0)[:, :, None] * _sides(draw)


def draw_acting(seeds: list[int], poses: tuple[Pose, Pose], big: Tensor) -> list[Expression]:
    """Expressions of both frames of each pair.

    Args:
        seeds: one per pair.
        poses: of both frames; the nose follows them.
        big: 1 where movements are large, [B, 1, 1].
    """
    device = big.device
    draw = Draw(seeds, 0xAC7, device, width=16)
    expressive, lids = draw.chance(0.35), (draw.chance(0.12), draw.chance(0.5))
    look_x, look_y = draw.middle(-0.035, 0.035), draw.middle(-0.012, 0.014)
    glance = draw.chance(0.4)
    gaze = torch.cat([look_x, look_y], -1)[:, 0]
    shift = torch.cat([glance * draw.uniform(-0.07, 0.07), glance * draw.uniform(-0.02, 0.025)], -1)[:, 0]
    out = []
    for frame, active in enumerate((expressive, torch.ones_like(big))):
        intensity = draw_expression(Draw(seeds, 0xAC8 + frame, device), big, active, lids[frame])
        out.append(Expression(intensity, *nose_turn(poses[frame]), gaze + frame * shift))
    return out
