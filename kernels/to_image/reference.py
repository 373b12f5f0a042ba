"""8-bit pixels in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def to_image(prediction: Tensor) -> Tensor:
    """Round a picture `[B, H, W, 3]` in [0, 1] to uint8, halves up; what lies outside [0, 1] is clamped."""
    return torch.floor(prediction.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
