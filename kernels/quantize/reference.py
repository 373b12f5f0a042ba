"""Bytes for integer convolutions in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def quantize(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`features * scale + shift` to the nearest whole number in 0...255, ties to even; NaN is 0.

    Args:
        features: `[B, H, W, C]`; scale, shift: `[C]`; all of one floating type.
    """
    return quantize_unrounded(features, scale, shift).round().to(torch.uint8)


def quantize_unrounded(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The same before rounding."""
    return torch.nan_to_num(features * scale + shift, nan=0.0).clamp(0, 255)
