"""Dense motion in plain PyTorch (FOMM, equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid


def dense_motion(
    mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: PixelGrid = "corners"
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax masks over the motions, their weighted sum as flow, and the occlusion.

    Convention:
        Flow is the absolute sampling grid: at a driving pixel the target coordinate, (x, y) in [-1, 1]. It is
        computed as `z + sum_k m_k ((A_k - I) z + b_k)`: an order less rounding than summing the coordinates, and
        exactly z when nothing moves.

    Args:
        mask_logits: `[B, H, W, K + 1]`; motion 0 is the background.
        occlusion_logits: `[B, H, W]`.
        affine: `[B, K, 2, 3]`, driving -> target.

    Returns:
        mask `[B, H, W, K + 1]`, flow `[B, H, W, 2]`, occlusion `[B, H, W]` (1: visible, 0: to be painted).
    """
    height, width = mask_logits.shape[1:3]
    mask = torch.softmax(mask_logits, dim=-1)
    grid = identity_grid(height, width, pixel_grid, dtype=affine.dtype, device=affine.device)
    turn = affine[..., :2] - torch.eye(2, dtype=affine.dtype, device=affine.device)
    weight = mask[..., 1:]
    linear = torch.einsum("bhwk,bkij->bhwij", weight, turn)
    offset = torch.einsum("bhwk,bki->bhwi", weight, affine[..., 2])
    flow = grid + ((linear * grid[None, :, :, None, :]).sum(-1) + offset)
    return mask, flow, torch.sigmoid(occlusion_logits)
