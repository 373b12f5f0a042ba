"""Soft-argmax in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid


def soft_argmax(
    logits: Tensor, jacobian_map: Tensor, temperature: float, pixel_grid: PixelGrid = "corners"
) -> tuple[Tensor, Tensor]:
    """Keypoints and Jacobians: means of position and of `jacobian_map` under softmax(logits / temperature).

    Convention:
        The positions are those of `pixel_grid` over the map itself, (x, y) in [-1, 1] (FOMM, section 3.1).

    Args:
        logits: `[B, H, W, K]` floating point.
        jacobian_map: `[B, H, W, K, 2, 2]`.
        temperature: divides the logits.

    Returns:
        kp `[B, K, 2]` and jacobian `[B, K, 2, 2]`.
    """
    batch, height, width, count = logits.shape
    rows = logits.permute(0, 3, 1, 2).reshape(batch, count, height * width)
    heat = torch.softmax(rows / temperature, dim=-1)[..., None]
    grid = identity_grid(height, width, pixel_grid, dtype=logits.dtype, device=logits.device).reshape(-1, 2)
    # Products and a pairwise sum: a matrix product would accumulate in sequence and be several times less exact.
    kp = (heat * grid).sum(dim=2)
    maps = jacobian_map.permute(0, 3, 1, 2, 4, 5).reshape(batch, count, height * width, 4)
    jacobian = (heat * maps).sum(dim=2)
    return kp, jacobian.reshape(batch, count, 2, 2)
