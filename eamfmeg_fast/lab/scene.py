"""What does not move: the wall behind, the neck and the shoulders."""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.motion import Pose
from eamfmeg_fast.lab.noise import bell, centres, smoothstep, spline_field
from eamfmeg_fast.lab.seeds import normal_grids

Tensor = torch.Tensor


def frame_axes(size: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Pixel centres of a frame in [-1, 1]: x [1, size, size] and y [1, size, size]."""
    axis = centres(size, device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def paint_scene(identity: Identity, rest: Pose, size: int) -> Tensor:
    """Everything behind the head.

    Args:
        identity: batch of people.
        rest: pose the shoulders were placed for; they stay there when the head moves.
        size: pixels on a side.

    Returns:
        float32 [B, 3, size, size] in 0..1.
    """
    x, y = frame_axes(size, identity.device)
    wall, fine = _wall(identity, x, y, size)
    head_x, head_y = rest.to_head(x, y)
    return _shoulders(identity, wall, fine, (head_x, head_y, 2.0 / (size * rest.scale))).clamp(0.0, 1.0)


def _wall(identity: Identity, x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Wall, and the fine noise that the cloth shares."""
    look = identity.look
    slope = smoothstep(0.5 + 0.5 * (look.light_x * x - y))[:, None]
    wall = look.wall * slope + (0.6 * look.wall + 0.4 * look.wall_other) * (1.0 - slope)
    coarse = spline_field(normal_grids(identity.seeds, 0x5C1, (3, 8, 8), identity.device), size, size)
    coarse = coarse.mean(1, keepdim=True) * 1.2 + 0.25 * coarse
    fine = spline_field(normal_grids(identity.seeds, 0x5C2, (1, 48, 48), identity.device), size, size)
    return wall + look.wall_texture[:, None] * (0.10 * coarse + 0.04 * fine), fine


def _shoulders(identity: Identity, wall: Tensor, fine: Tensor, place: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Neck and clothes over the wall; place: head coordinates of the pixels and the size of one."""
    look, s = identity.look, identity.shape
    head_x, head_y, pixel = place
    side = head_x.abs()
    neck_half = s.width * 0.60 + 0.10 * smoothstep((head_y - 1.0) / 0.4)
    round_neck = (1.0 - (head_x / (neck_half * 1.15)) ** 2).clamp(min=0.0).sqrt()
    tone = look.ambient + (1.0 - look.ambient) * (round_neck * (0.75 + 0.5 * look.light_x * head_x)).clamp(0.0, 1.2)
    tone = tone * (1.0 - 0.42 * smoothstep((s.chin + 0.30 - head_y) / 0.34))
    neck = look.skin * (tone * 0.95)[:, None] * look.light_colour
    cover = smoothstep((neck_half - side) / (1.5 * pixel) + 0.5) * smoothstep((head_y - 0.2) / 0.1)
    scene = wall + (neck - wall) * cover[:, None]
    collar = (
        s.chin
        + 0.24
        + 0.10 * bell(head_x, 0.30)
        + 0.32 * (side - 0.45).clamp(min=0.0) ** 1.3
        - 0.13 * smoothstep((side - 0.28) / 0.2)
    )
    inside = smoothstep((head_y - collar) / (1.5 * pixel) + 0.5)
    weave = 1.0 + look.cloth_texture * (0.12 * fine[:, 0] + 0.12 * torch.sin(head_y * 40.0))
    shade = weave * (0.68 + 0.25 * smoothstep((head_y - collar) / 0.35) + 0.15 * look.light_x * head_x)
    cloth = look.cloth * shade[:, None]
    return scene + (cloth - scene) * inside[:, None]
