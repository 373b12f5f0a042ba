"""8-bit pixels in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def to_image(prediction: Tensor, from_logits: bool = False) -> Tensor:
    """Round a picture `[B, H, W, 3]` in [0, 1] to uint8, halves up; what lies outside [0, 1] is clamped, NaN is 0.

    Args:
        prediction: floating point; 16-bit types are computed in float32.
        from_logits: take the sigmoid first.
    """
    return torch.floor(to_image_unrounded(prediction, from_logits) + 0.5).to(torch.uint8)


def to_image_unrounded(prediction: Tensor, from_logits: bool = False) -> Tensor:
    """The levels 0...255 before rounding."""
    x = torch.nan_to_num(prediction.to(torch.promote_types(prediction.dtype, torch.float32)), nan=-torch.inf)
    return (torch.sigmoid(x) if from_logits else x.clamp(0, 1)) * 255
