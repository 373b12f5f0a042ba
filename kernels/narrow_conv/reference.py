"""A convolution with few output channels in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def narrow_conv(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve `[B, H, W, C]` with `[O, C, K, K]` and zero padding K // 2; `[B, H, W, O]`.

    Args:
        features: bfloat16 is multiplied by weights that are rounded to it; products and sums are float32.
        bias: `[O]` or None, never rounded.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    if features.dtype == torch.bfloat16:
        weight = weight.to(torch.bfloat16)
    x = features.to(exact).permute(0, 3, 1, 2)
    bias = None if bias is None else bias.to(exact)
    return F.conv2d(x, weight.to(exact), bias, padding=weight.shape[-1] // 2).permute(0, 2, 3, 1)


def direct(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same where a vendor's convolution might use TensorFloat-32: float32 stays float32."""
    # TensorFloat-32 holds every bfloat16, so that their products stay exact.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=features.dtype == torch.bfloat16):
        return narrow_conv(features, weight, bias)
