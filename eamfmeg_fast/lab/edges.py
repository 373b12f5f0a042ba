"""Edge maps: bright contours on black, 64 x 64, as the edge head learns them."""

from __future__ import annotations

import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad

Tensor = torch.Tensor
EDGE_SIZE = 64


def edge_map(colour: Tensor, level: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scharr magnitude of the luminance, smoothed.

    Args:
        colour: float32 [B, 3, H, W], without noise.
        level: [B, 1, 1, 1] contrast to divide by; None measures it. Frames of one clip share it.

    Returns:
        float32 [B, 64, 64] in [0, 1], and the level.
    """
    grey = (colour * colour.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    grey = adaptive_avg_pool2d(grey, 2 * EDGE_SIZE)
    scharr = colour.new_tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]]) / 32.0
    slopes = conv2d(pad(grey, (1, 1, 1, 1), mode="replicate"), torch.stack([scharr, scharr.t()])[:, None])
    strength = (slopes * slopes).sum(1, keepdim=True).add(1e-12).sqrt()
    steps = torch.arange(-5, 6, device=colour.device, dtype=torch.float32)
    row = torch.exp(-0.5 * (steps / 1.8) ** 2)
    row = row / row.sum()
    strength = conv2d(pad(strength, (5, 5, 5, 5), mode="replicate"), row[None, None, None])
    strength = adaptive_avg_pool2d(conv2d(strength, row[None, None, :, None]), EDGE_SIZE)
    if level is None:
        ordered = strength.flatten(1).sort(1).values
        level = ordered[:, int(0.97 * ordered.shape[1])][:, None, None, None].clamp(min=0.01)
    return (strength / level).clamp(0.0, 1.0)[:, 0], level
