"""Sparse motion features in plain PyTorch (FOMM, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid
from eamfmeg_fast.kernels.warp_occlude.reference import warp


def sparse_grids(affine: Tensor, height: int, width: int, pixel_grid: PixelGrid) -> Tensor:
    """Where each motion samples the target, `[B, K + 1, height, width, 2]`; motion 0 is the background, the identity.

    Convention:
        Backward: value at a driving pixel z is the target coordinate `A z + b`, (x, y) in [-1, 1].

    Args:
        affine: `[B, K, 2, 3]` from `geometry.affine_of`.
    """
    grid = identity_grid(height, width, pixel_grid, dtype=affine.dtype, device=affine.device)
    moved = torch.einsum("bkij,hwj->bkhwi", affine[..., :2], grid) + affine[:, :, None, None, :, 2]
    still = grid.expand(affine.shape[0], 1, height, width, 2)
    return torch.cat([still, moved], dim=1)


def heatmap_difference(
    kp_target: Tensor, kp_driving: Tensor, height: int, width: int, variance: float, pixel_grid: PixelGrid
) -> Tensor:
    """Gaussians at the driving keypoints minus the target's, `[B, K + 1, height, width]`; channel 0 is zero."""
    grid = identity_grid(height, width, pixel_grid, dtype=kp_target.dtype, device=kp_target.device)

    def gaussian(kp: Tensor) -> Tensor:
        distance = ((grid - kp[:, :, None, None, :]) ** 2).sum(-1)
        return torch.exp(-0.5 * distance / variance)

    difference = gaussian(kp_driving) - gaussian(kp_target)
    return torch.cat([torch.zeros_like(difference[:, :1]), difference], dim=1)


def sparse_motion(
    thumbnail: Tensor,
    kp_target: Tensor,
    kp_driving: Tensor,
    affine: Tensor,
    variance: float,
    pixel_grid: PixelGrid = "corners",
    align_corners: bool = False,
) -> Tensor:
    """The hourglass input: for each motion its heatmap difference and the thumbnail warped by it.

    Args:
        thumbnail: `[B, H, W, 3]`, the target's.
        kp_target, kp_driving: `[B, K, 2]`.
        affine: `[B, K, 2, 3]`, driving -> target.

    Returns:
        `[B, H, W, (K + 1) * 4]`; channels of motion k: heatmap, red, green, blue.
    """
    batch, height, width, _ = thumbnail.shape
    grids = sparse_grids(affine, height, width, pixel_grid)
    heat = heatmap_difference(kp_target, kp_driving, height, width, variance, pixel_grid)
    count = grids.shape[1]
    copies = thumbnail[:, None].expand(batch, count, height, width, 3).flatten(0, 1)
    warped = warp(copies, grids.flatten(0, 1), align_corners).unflatten(0, (batch, count))
    features = torch.cat([heat[..., None], warped], dim=-1)
    return features.permute(0, 2, 3, 1, 4).flatten(3)
