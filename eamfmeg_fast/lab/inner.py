"""What lids and lips uncover: eyeballs and the inside of the mouth; they move with the head alone."""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.motion import REACH
from eamfmeg_fast.lab.noise import bell, centres, smoothstep

Tensor = torch.Tensor

EYES_END = 0.16
"""Above this y, head units, the texture shows eyeballs; below it the mouth."""


def _eyes(identity: Identity, x: Tensor, y: Tensor, soft: float) -> Tensor:
    s, look = identity.shape, identity.look
    side = torch.where(x < 0, -1.0, 1.0)
    away_x = x - side * s.eye_x - s.gaze_x
    away_y = y - (s.eye_y - 0.010 + s.gaze_y)
    ring = torch.sqrt(away_x * away_x + away_y * away_y + 1e-7)
    along = (x.abs() - s.eye_x) / s.eye_width
    sclera = (0.86 - 0.20 * along * along)[:, None]
    sclera = sclera * torch.tensor([1.0, 0.965, 0.94], device=x.device)[None, :, None, None]
    pink = bell(x.abs() - (s.eye_x - 0.93 * s.eye_width), 0.022)[:, None]
    sclera = (
        sclera
        + (look.skin * torch.tensor([0.95, 0.66, 0.62], device=x.device)[None, :, None, None] - sclera) * pink * 0.85
    )
    angle = torch.atan2(away_y, away_x)
    rays = torch.sin(angle * 23.0 + 3.0 * torch.sin(angle * 7.0)) * 0.10 + torch.sin(angle * 41.0) * 0.06
    depth = ring / s.iris
    tone = 0.85 + rays + 0.35 * bell(depth - 0.55, 0.25) - 0.75 * smoothstep((depth - 0.74) / 0.26)
    tone = tone + 0.25 * smoothstep(away_y / s.iris)
    colour = look.iris * tone[:, None].clamp(0.12, 1.6)
    colour = colour * (1.0 - 0.95 * smoothstep((s.iris * 0.42 - ring) / (1.5 * soft) + 0.5)[:, None])
    iris = smoothstep((s.iris - ring) / (2.0 * soft) + 0.5)[:, None]
    colour = sclera * ((0.72 + 0.38 * look.ambient) * look.sclera)[:, None] * (1 - iris) + colour * iris
    glint_x, glint_y = away_x - 0.020 * torch.sign(look.light_x), away_y + 0.022
    glint = bell(torch.sqrt(glint_x * glint_x + glint_y * glint_y + 1e-8), 0.0105 + 0.3 * soft)
    return colour + (1.0 - colour) * (glint * 0.85)[:, None]


def _mouth(identity: Identity, x: Tensor, y: Tensor) -> Tensor:
    s, look = identity.shape, identity.look
    side = x.abs()
    number = (side / 0.042).floor()
    across = torch.remainder(side, 0.042) / 0.042 - 0.5
    # The middle teeth are the longest; each ends in an arc, and a dark line parts it from the next.
    end = s.mouth_y + 0.024 - 0.006 * (number.remainder(2.0) * 0.6 + 0.25 * number) - 0.030 * across**4 - 0.10 * x * x
    upper = smoothstep((end - y) / 0.008 + 0.5) * smoothstep((0.82 * s.mouth_width - side) / 0.07)
    low = s.mouth_y + 0.050 + 0.20 * x * x
    lower = 0.45 * smoothstep((y - low) / 0.010 + 0.5) * smoothstep((0.6 * s.mouth_width - side) / 0.06)
    gaps = 1.0 - 0.38 * bell(across.abs() - 0.5, 0.07)
    fade = (1.0 - 0.55 * smoothstep(side / s.mouth_width)) * (0.82 + 0.2 * smoothstep((y - s.mouth_y + 0.05) / 0.07))
    dark = look.lip * torch.tensor([0.28, 0.16, 0.16], device=x.device)[None, :, None, None]
    tongue = bell(x, 0.14) * smoothstep((y - s.mouth_y - 0.03) / 0.05)
    dark = dark * (1.0 + 0.9 * tongue[:, None])
    ivory = torch.tensor([0.84, 0.80, 0.71], device=x.device)[None, :, None, None] * (
        0.65 + 0.35 * look.ambient[:, None]
    )
    ivory = ivory * (gaps * fade)[:, None]
    return dark + (ivory - dark) * torch.maximum(upper, lower)[:, None] * 0.9


def paint_inner(identity: Identity, size: int) -> Tensor:
    """Texture of eyeballs and mouth over the head square, float32 [B, 3, size, size] in 0..1."""
    axis = centres(size, identity.device) * REACH
    x = axis[None, None]
    split = int((EYES_END / REACH + 1.0) * 0.5 * size)
    eyes = _eyes(identity, x, axis[None, :split, None], 2.0 * REACH / size)
    mouth = _mouth(identity, x, axis[None, split:, None])
    return torch.cat([eyes, mouth], 2).clamp(0.0, 1.0)
