"""Hair and glasses: what lies over the face and moves with the head alone."""

from __future__ import annotations

import torch
from torch.nn.functional import grid_sample

from eamfmeg_fast.lab.anatomy import outline_depth
from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.motion import REACH
from eamfmeg_fast.lab.noise import bell, centres, smoothstep
from eamfmeg_fast.lab.seeds import normal_grids

Tensor = torch.Tensor


def _strands(identity: Identity, x: Tensor, y: Tensor) -> Tensor:
    """Streaks that run away from the parting, about unit variance, [B, H, W]."""
    hair = identity.hair
    from_x, from_y = x - hair.part_x, y + 1.0
    fall = torch.atan2(from_x, from_y.clamp(min=0.0) + 0.22)
    radius = torch.sqrt(from_x * from_x + from_y * from_y + 1e-6)
    sheet = normal_grids(identity.seeds, 0x4A1, (1, 10, 220), identity.device)
    points = torch.stack([fall * 0.62 + 0.03 * torch.sin(radius * 6.0), (radius - 1.2) * 0.7], -1)
    return grid_sample(sheet, points, align_corners=False, padding_mode="reflection")[:, 0] * 1.3


def hair_depths(identity: Identity, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Depth inside the outer edge of the hair, and depth inside the face it leaves free; head units, [B, H, W]."""
    s, hair = identity.shape, identity.hair
    side = x.abs()
    wide = s.width + hair.volume * 0.8 + 0.03
    tall = 1.05 + hair.top
    level = torch.sqrt((side / wide) ** 2 + (y.clamp(max=0.0) / tall) ** 2 + 1e-6)
    outer = (1.0 - level) * torch.sqrt(side * side + y.clamp(max=0.0) ** 2 + 0.04)
    end = s.eye_y + 0.14
    short = torch.minimum(outer, end - y - 0.3 * (side - s.width).clamp(min=0.0))
    outer = torch.where(hair.long > 0.5, outer + 0.12 * smoothstep((y - 0.1) / 0.9), short)
    line = s.hairline + hair.sweep * (x - hair.part_x) + hair.temple * bell(x.abs() - 0.45, 0.2) * -0.5
    line = line + hair.fringe * (0.16 + 0.10 * bell(x - hair.part_x, 0.5))
    drop = (side / (s.width * 0.97)).clamp(max=1.2)
    free_top = y - (line + (0.55 - 0.2 * hair.fringe) * drop**4.5)
    neck = torch.minimum(s.width * 0.56 - side, y - 0.5)
    beside = torch.minimum(torch.maximum(outline_depth(s, side, y) - 0.02, neck), 0.92 * s.width - side)
    free_side = torch.where(hair.long > 0.5, beside, 0.99 * s.width - side)
    return outer, torch.minimum(free_top, free_side)


def _glasses(identity: Identity, x: Tensor, y: Tensor, soft: float) -> Tensor:
    s = identity.shape
    side = x.abs()
    look = identity.look
    lens_x, lens_y = ((side - s.eye_x) / 0.225).abs(), ((y - s.eye_y - 0.02) / look.lens_height).abs()
    ring = (lens_x**look.lens_round + lens_y**look.lens_round + 1e-6) ** (1.0 / look.lens_round)
    rim = bell((ring - 1.0) * 0.19, look.rim_width + 0.5 * soft)
    bridge = bell(y - s.eye_y + 0.02 + 0.4 * x * x, 0.012 + 0.5 * soft) * smoothstep((s.eye_x - 0.225 - side) / 0.02)
    arm = (
        bell(y - s.eye_y + 0.04, 0.014 + 0.5 * soft)
        * smoothstep((side - s.eye_x - 0.23) / 0.02)
        * smoothstep((s.width + 0.02 - side) / 0.03)
    )
    return (rim + bridge + arm).clamp(max=1.0) * identity.look.glasses


def paint_overlay(identity: Identity, size: int) -> tuple[Tensor, Tensor]:
    """Texture of hair and glasses.

    Args:
        identity: batch of faces.
        size: texels on a side of the head square.

    Returns:
        float32 [B, 4, size, size] (RGB and cover), and the shade the hair throws on the skin, [B, size, size].
    """
    look, hair = identity.look, identity.hair
    axis = centres(size, identity.device) * REACH
    x, y = axis[None, None], axis[None, :, None]
    soft = 2.0 * REACH / size
    strands = _strands(identity, x, y)
    outer, free = hair_depths(identity, x, y)
    fray = strands * 0.014 * hair.rough
    within = smoothstep((outer + fray) / (1.5 * soft + 0.012) + 0.5)
    front = smoothstep((-free + 1.3 * fray) / (1.5 * soft + 0.030) + 0.5)
    keep = (1.0 - hair.bald) * 1.0
    cover = within * front * keep
    shade = smoothstep((0.07 - free) / 0.09) * keep * 0.45
    ball = smoothstep(outer / 0.28)
    sheen = bell(torch.sqrt((x - hair.part_x - 0.15 * look.light_x) ** 2 + (y + 1.0) ** 2 + 1e-6) - 0.38, 0.14)
    tone = 0.52 + 0.48 * ball + 0.20 * strands * hair.contrast + 0.30 * sheen * (1.0 + 0.5 * strands)
    tone = tone * (1.0 + 0.25 * look.light_x * x) * (0.55 + 0.45 * smoothstep((-free) / 0.14 + 0.25))
    colour = look.hair * tone[:, None].clamp(min=0.12) + 0.02 * sheen[:, None]
    rim = _glasses(identity, x, y, soft)[:, None]
    colour = colour * (1.0 - rim) + look.rim * rim
    cover = torch.maximum(cover, rim[:, 0])
    return torch.cat([colour.clamp(0.0, 1.0), cover[:, None]], 1), shade
