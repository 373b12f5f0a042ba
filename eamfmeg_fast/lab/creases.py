"""What muscles draw on the skin: lines, folds and shades that come and go with the action units."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from eamfmeg_fast.lab.action_units import ACTION_UNITS
from eamfmeg_fast.lab.anatomy import lid_curves
from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.motion import REACH
from eamfmeg_fast.lab.noise import bell, centres, smoothstep
from eamfmeg_fast.lab.seeds import Draw

Tensor = torch.Tensor

CREASES: dict[str, dict[int, float]] = {
    "forehead_inner": {1: 0.9, 2: 0.3},
    "forehead_outer": {2: 0.9},
    "frown": {4: 1.0, 9: 0.3},
    "fold": {6: 0.45, 9: 0.6, 10: 0.7, 12: 0.8, 14: 0.3},
    "crow": {6: 0.9, 7: 0.3},
    "bag": {6: 0.8, 7: 0.7, 12: 0.25},
    "nose": {9: 1.0},
    "corner": {12: 0.6, 14: 1.0, 15: 0.5, 20: 0.4},
    "chin": {17: 1.0},
    "lash": {43: 0.5, 45: 0.9},
}
"""How dark each group of creases is at intensity 1 of the action units that draw it."""


def _line(away: Tensor, width: float, soft: float) -> Tensor:
    """A dark line with a lit ridge beside it: one side of a fold turns from the light, the other toward it."""
    return bell(away, width + 0.3 * soft) - 0.45 * bell(away - 2.2 * width, 1.6 * width + 0.3 * soft)


def _upper_marks(identity: Identity, x: Tensor, y: Tensor, soft: float) -> list[Tensor]:
    s = identity.shape
    draw = Draw(identity.seeds, 0xC2EA, identity.device, width=12)
    wave = 0.012 * torch.sin(x * draw.uniform(7.0, 13.0) + draw.uniform(0.0, 6.0))
    first, step = draw.uniform(0.10, 0.14), draw.uniform(0.065, 0.10)
    arch = wave + 0.10 * x * x
    lines = sum((1.0 - 0.2 * k) * _line(y - (s.brow_y - first - step * k + arch), 0.011, soft) for k in range(3))
    inner, outer = smoothstep((0.34 - x) / 0.22), smoothstep((x - 0.14) / 0.16) * smoothstep((0.56 - x) / 0.14)
    lean = 0.055 + 0.25 * (s.brow_y + 0.03 - y) * draw.uniform(0.0, 0.4)
    frown = _line(x - lean, 0.013, soft) * bell(y - (s.brow_y + 0.015), 0.085) + 0.25 * bell(x, 0.16) * bell(
        y - (s.brow_y + 0.05), 0.07
    )
    return [0.42 * lines * inner, 0.42 * lines * outer, 0.62 * frown]


def _eye_marks(identity: Identity, x: Tensor, y: Tensor, soft: float) -> list[Tensor]:
    s = identity.shape
    upper, lower, profile = lid_curves(s, x)
    along = (x - s.eye_x) / s.eye_width
    near = smoothstep((1.15 - along.abs()) / 0.35)
    out_x, out_y = x - (s.eye_x + 1.02 * s.eye_width), y - s.eye_y
    angle = torch.atan2(out_y, out_x.clamp(min=1e-3))
    rays = sum(_line(angle - turn, 0.11, soft) for turn in (-0.55, -0.05, 0.45))
    crow = rays * smoothstep((out_x - 0.03) / 0.05) * smoothstep((0.21 - out_x) / 0.12) * bell(out_y, 0.13)
    bag = _line(y - (lower + 0.026 + 0.026 * profile), 0.012, soft) * near
    lash = bell((y - upper).clamp(max=0.0), 0.016 + 0.4 * soft) * near * smoothstep((lower - y) / 0.02 + 1.0)
    return [0.36 * crow, 0.40 * bag, 0.5 * lash]


def _lower_marks(identity: Identity, x: Tensor, y: Tensor, soft: float) -> list[Tensor]:
    s = identity.shape
    down = ((y - (s.nose_y - 0.10)) / (s.mouth_y + 0.08 - s.nose_y + 0.10)).clamp(-0.2, 1.2)
    path = (
        s.nose_width
        + 0.010
        + (s.mouth_width + 0.075 - s.nose_width) * torch.sin(0.5 * torch.pi * down.clamp(min=0.0)) ** 1.1
    )
    fade = smoothstep(down * 3.0) * smoothstep((1.15 - down) * 2.2)
    fold = (_line(x - path, 0.020, soft) - 0.30 * bell(x - path - 0.11, 0.08)) * fade
    ridge = sum(_line(y + 0.5 * x - (s.eye_y + 0.07 + 0.05 * k), 0.011, soft) for k in range(2))
    nose = ridge * smoothstep((0.11 - x) / 0.05) * smoothstep(x / 0.03 + 0.2)
    corner_x = x - (s.mouth_width + 0.035)
    corner = bell(corner_x, 0.020) * bell(y - s.mouth_y - s.mouth_curve, 0.055)
    pucker = torch.sin(x * 62.0 + 5.0 * torch.sin(y * 47.0)) * torch.sin(y * 71.0 + 4.0 * torch.sin(x * 43.0))
    arc = bell(y - (s.mouth_y + s.lip_lower + 0.045 - 0.6 * x * x), 0.018)
    chin = (0.32 * pucker * bell(y - (s.chin - 0.12), 0.075) + 0.5 * arc) * bell(x, 0.13)
    return [0.44 * fold, 0.40 * nose, 0.42 * corner, 0.55 * chin]


_WIDEST = 0.82
_ROWS = {_upper_marks: (-0.90, 0.16), _eye_marks: (-0.50, 0.38), _lower_marks: (-0.22, REACH)}
"""Where in the head square (|x| and y, head units) each kind of mark can be; nothing is computed elsewhere."""


def paint_creases(identity: Identity, size: int) -> Tensor:
    """Darkness of every group of CREASES over the right half of the head square, float32 [B, G, size, size / 2]."""
    axis = centres(size, identity.device) * REACH
    soft, half = 2.0 * REACH / size, size // 2
    columns = min(half, int(_WIDEST / soft) + 1)
    x, found = axis[None, None, half : half + columns], []
    for draw_marks, span in _ROWS.items():
        first, last = (min(max(int((y + REACH) / soft), 0), size) for y in span)
        marks = torch.stack(draw_marks(identity, x, axis[None, first:last, None], soft), 1)
        found.append(pad(marks, (0, half - columns, first, size - last)))
    top, eye, low = found
    marks = torch.cat([top, low[:, :1], eye[:, :2], low[:, 1:], eye[:, 2:]], 1)
    # Young skin creases less; everybody's lash line shows.
    depth = (0.45 + 0.75 * identity.look.age).clamp(max=1.1)[:, None]
    return torch.cat([marks[:, :-1] * depth, marks[:, -1:]], 1)


def crease_strength(intensity: Tensor) -> Tensor:
    """Intensity float32 [B, A, 2] to the strength of every group of CREASES, [B, G, 2]."""
    rows = [[weights.get(unit, 0.0) for unit in ACTION_UNITS] for weights in CREASES.values()]
    return torch.einsum("ga,bas->bgs", intensity.new_tensor(rows), intensity).clamp(max=1.5)


def creased(skin: Tensor, creases: Tensor, intensity: Tensor) -> Tensor:
    """The skin's texture with the creases of an expression.

    Args:
        skin: float32 [B, 4, n, n]. creases: [B, G, n, n / 2]; either may have one row for all.
        intensity: [B, A, 2].
    """
    if not bool(intensity.any()):
        return skin
    strength = crease_strength(intensity)
    rows = strength.shape[0]
    creases = creases.expand(rows, -1, -1, -1)
    dark = torch.matmul(strength.transpose(1, 2), creases.flatten(2)).unflatten(2, creases.shape[2:])
    dark = torch.cat([dark[:, 0].flip(-1), dark[:, 1]], -1).clamp(-0.35, 0.7)
    keep = 1.0 - dark[:, None] * dark.new_tensor([0.88, 1.0, 1.03])[None, :, None, None]
    skin = skin.expand(rows, -1, -1, -1)
    return torch.cat([(skin[:, :3] * keep).clamp(0.0, 1.0), skin[:, 3:]], 1)
