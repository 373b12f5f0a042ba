"""Antialiased reduction in plain PyTorch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernel(scale: float, even: bool = False) -> Tensor:
    """The square Gaussian that goes with a reduction by `scale`, `[k, k]` float32, sum 1.

    Convention:
        sigma = (1 / scale - 1) / 2; k = 2 round(4 sigma) + 1 (13 at 1/4), or one more when `even`, whose centre lies
        between pixels: with stride s it sits in the middle of each s x s block.
    """
    sigma = (1 / scale - 1) / 2
    size = 2 * round(4 * sigma) + (2 if even else 1)
    # numpy in float32 throughout: the very bits that published checkpoints carry.
    offset = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    line = np.exp(-(offset**2) / np.float32(2 * sigma**2))
    kernel = np.outer(line, line)
    return torch.from_numpy(kernel / kernel.sum(dtype=np.float32))


def antialias_down(picture: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Blur with `kernel` and keep every `stride`-th pixel; zeros outside.

    Convention:
        Output pixel i is centred at input pixel `stride * i` when k is odd (upstream's slicing), and at
        `stride * i + (stride - 1) / 2`, the middle of its block, when k is even.

    Args:
        picture: `[B, H, W, C]`; uint8 is divided by 255, floating point is taken as it is.
        kernel: `[k, k]`, applied to each channel alone; an even k goes with an even stride.
        stride: reduction factor; H and W are multiples of it.

    Returns:
        `[B, H // stride, W // stride, C]` in the kernel's dtype.
    """
    x = picture.permute(0, 3, 1, 2)
    x = x.to(kernel.dtype) / 255 if picture.dtype == torch.uint8 else x.to(kernel.dtype)
    channels, size = x.shape[1], kernel.shape[-1]
    before = size // 2 if size % 2 else (size - stride) // 2
    x = F.pad(x, (before, before, before, before))
    weight = kernel.expand(channels, 1, size, size)
    out = F.conv2d(x, weight, stride=stride, groups=channels)
    height, width = picture.shape[1] // stride, picture.shape[2] // stride
    return out[:, :, :height, :width].permute(0, 2, 3, 1)
