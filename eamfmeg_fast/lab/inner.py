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
    colour = sclera * (0.62 + 0.38 * look.ambient + 0.1)[:, None] * (1 - iris) + colour * iris
    glint_x, glint_y = away_x - 0.020 * torch.sign(look.light_x), away_y + 0.022
    glint = bell(torch.sqrt(glint_x * glint_x + glint_y * glint_y + 1e-8), 0.0105 + 0.3 * soft)
    return colour + (1.0 - colour) * (glint * 0.85)[:, None]


def _mouth(identity: Identity, x: Tensor, y: Tensor) -> Tensor:
    s, look = identity.shape, identity.look
    teeth = smoothstep((s.mouth_y + 0.020 - y) / 0.012) * smoothstep((0.8 * s.mouth_width - x.abs()) / 0.06)
    gaps = 1.0 - 0.25 * bell(torch.remainder(x + 0.03, 0.06) - 0.03, 0.004)
    dark = look.lip * torch.tensor([0.28, 0.18, 0.18], device=x.device)[None, :, None, None]
    ivory = torch.tensor([0.80, 0.76, 0.69], device=x.device)[None, :, None, None]
    return dark + (ivory * gaps[:, None] - dark) * teeth[:, None] * 0.85


def paint_inner(identity: Identity, size: int) -> Tensor:
    """Texture of eyeballs and mouth over the head square, float32 [B, 3, size, size] in 0..1."""
    axis = centres(size, identity.device) * REACH
    x = axis[None, None]
    split = int((EYES_END / REACH + 1.0) * 0.5 * size)
    eyes = _eyes(identity, x, axis[None, :split, None], 2.0 * REACH / size)
    mouth = _mouth(identity, x, axis[None, split:, None])
    return torch.cat([eyes, mouth], 2).clamp(0.0, 1.0)
