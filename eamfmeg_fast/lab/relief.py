"""The face as a height field, and the light on it."""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.noise import bell, smoothstep

Tensor = torch.Tensor
Place = torch.Tensor | float


def _bumps(identity: Identity) -> list[tuple[Place, Place, Place, Place, Place, bool]]:
    """Centre x, centre y, spread x, spread y, height, mirrored."""
    s = identity.shape
    nose = s.nose_height
    tip_y = s.nose_y - 0.07
    old = identity.look.age[..., :1]
    return [
        (0.0, s.eye_y + 0.05, 0.060, 0.085, 0.024 * nose, False),
        (0.0, s.eye_y + 0.16, 0.060, 0.085, 0.031 * nose, False),
        (0.0, tip_y - 0.07, 0.064, 0.070, 0.036 * nose, False),
        (0.0, tip_y, s.nose_width * 0.48, 0.062, 0.052 * nose, False),
        (s.nose_width - 0.045, s.nose_y - 0.045, 0.038, 0.042, 0.032, True),
        (0.0, s.brow_y + 0.02, 0.10, 0.06, 0.016, False),
        (s.eye_x - 0.02, s.brow_y + 0.01, 0.15, 0.055, 0.030, True),
        (s.eye_x - 0.02, s.eye_y - 0.03, 0.12, 0.075, -0.050, True),
        (s.eye_x - s.eye_width, s.eye_y + 0.01, 0.05, 0.05, -0.030, True),
        (s.eye_x, s.eye_y - 0.01, 0.095, 0.060, 0.040, True),
        (s.eye_x, s.eye_y + 0.085, 0.09, 0.022, 0.004 + 0.006 * old, True),
        (s.eye_x + 0.13, s.eye_y + 0.24, 0.15, 0.12, 0.050, True),
        (s.eye_x + 0.04, s.mouth_y - 0.10, 0.10, 0.10, -0.010, True),
        (0.0, s.mouth_y - 0.02, 0.22, 0.15, 0.044, False),
        (0.0, s.mouth_y - s.lip_upper - 0.055, 0.026, 0.050, -0.004, False),
        (0.034, s.mouth_y - s.lip_upper - 0.055, 0.024, 0.055, 0.002, True),
        (0.0, s.mouth_y - 0.45 * s.lip_upper, 0.14, 0.030, 0.013, False),
        (0.0, s.mouth_y + 0.50 * s.lip_lower, 0.13, 0.042, 0.024, False),
        (s.mouth_width, s.mouth_y, 0.035, 0.030, -0.014, True),
        (0.0, s.mouth_y + s.lip_lower + 0.045, 0.13, 0.035, -0.022, False),
        (0.0, s.chin - 0.13, 0.12, 0.085, 0.040, False),
        (0.20, s.brow_y - 0.20, 0.20, 0.16, 0.018, True),
        (s.width * 0.86, s.brow_y, 0.10, 0.18, -0.024, True),
    ]


def slopes(identity: Identity, axis_x: Tensor, axis_y: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of the relief over a regular grid.

    Args:
        identity: batch of faces.
        axis_x, axis_y: head units, [W] and [H].

    Returns:
        dz/dx and dz/dy, [B, H, W].
    """
    zero = torch.zeros_like(identity.shape.width)
    rows = []
    for x, y, sx, sy, height, mirrored in _bumps(identity):
        for sign in (-1.0, 1.0) if mirrored else (1.0,):
            rows.append(torch.stack([zero + sign * x, zero + y, zero + sx, zero + sy, zero + height])[:, :, 0, 0])
    x, y, sx, sy, height = torch.stack(rows, 2)[..., None]
    away_x, away_y = (axis_x - x) / sx, (axis_y - y) / sy
    bell_x, bell_y = bell(away_x, 2.0**0.5), bell(away_y, 2.0**0.5) * height
    down = bell_y.transpose(1, 2)
    dx = torch.matmul(down, -away_x / sx * bell_x)
    dy = torch.matmul((-away_y / sy * bell_y).transpose(1, 2), bell_x)
    return dx, dy


def _shine(identity: Identity, dx: Tensor, dy: Tensor) -> Tensor:
    """Specular light on the smooth relief, broad and soft."""
    across, down = 0.6 * identity.look.light_x, 0.6 * identity.look.light_y
    reach = torch.rsqrt((dx * dx + dy * dy + 1.0) * (2.89 + across**2 + down**2))
    return smoothstep(((1.7 - across * dx - down * dy) * reach - 0.80) / 0.22) ** 3


def light(identity: Identity, axis_x: Tensor, axis_y: Tensor, grain: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Light falling on the skin.

    Args:
        identity: batch of faces.
        axis_x, axis_y: head units, [W] and [H].
        grain: extra slopes of the skin's texture, [B, H, W] each.

    Returns:
        diffuse (about 0.3 to 1.2) and specular (0 to 1) light, [B, H, W].
    """
    s, look = identity.shape, identity.look
    dx, dy = slopes(identity, axis_x, axis_y)
    wide, tall = s.width * 1.06, s.chin * 1.12
    x, y = axis_x[None, None], axis_y[None, :, None]
    ball = (1.0 - (x / wide) ** 2 - (y / tall) ** 2).clamp(min=0.06).rsqrt()
    dx = dx * look.relief * 1.4 - 0.48 * ball * x / wide**2
    dy = dy * look.relief * 1.4 - 0.38 * ball * y / tall**2
    shine = _shine(identity, dx, dy)
    dx, dy = dx + grain[0], dy + grain[1]
    toward = torch.rsqrt(look.light_x**2 + look.light_y**2 + 0.8)
    facing = torch.rsqrt(dx * dx + dy * dy + 1.0)
    cosine = (0.894 - look.light_x * dx - look.light_y * dy) * facing * toward
    wrapped = ((cosine + 0.35) / 1.35).clamp(min=0.0)
    diffuse = look.ambient + (1.0 - look.ambient) * 1.14 * wrapped
    return diffuse, shine
