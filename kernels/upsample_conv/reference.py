"""Upsample and convolve in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def upsample_conv(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Repeat every pixel twice in both directions, then convolve 3x3 with zero padding 1.

    Args:
        features: `[B, H, W, C]`.
        weight: `[O, C, 3, 3]`; bias: `[O]` or None.

    Returns:
        `[B, 2 H, 2 W, O]`.
    """
    x = F.interpolate(features.permute(0, 3, 1, 2), scale_factor=2, mode="nearest")
    return F.conv2d(x, weight, bias, padding=1).permute(0, 2, 3, 1)
