"""What encoders and filters do to a picture: blocks of cosines, rounded; flat strokes with dark contours."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

Tensor = torch.Tensor

_BLOCK = 8


def _cosines(device: torch.device) -> Tensor:
    """Orthonormal cosine transform of a block, [8, 8]."""
    place = torch.arange(_BLOCK, dtype=torch.float32)
    rows = torch.cos(math.pi / _BLOCK * (place[None] + 0.5) * place[:, None]) * math.sqrt(2.0 / _BLOCK)
    rows[0] *= math.sqrt(0.5)
    return rows.to(device)


def _steps(device: torch.device) -> Tensor:
    """Widths of the rounding at strength 1, [8, 8]: finer for slow waves than for fast ones."""
    place = torch.arange(_BLOCK, dtype=torch.float32)
    return (1.0 + 0.55 * (place[None] + place[:, None])).to(device) / 64.0


def _rounded(plane: Tensor, strength: Tensor) -> Tensor:
    """Round the cosine coefficients of 8 x 8 blocks of [B, C, H, W]; strength [B, 1, 1, 1]."""
    height, width = plane.shape[-2:]
    more_y, more_x = -height % _BLOCK, -width % _BLOCK
    blocks = pad(plane, (0, more_x, 0, more_y), mode="replicate").unflatten(3, (-1, _BLOCK))
    blocks = blocks.unflatten(2, (-1, _BLOCK)).transpose(3, 4)
    basis = _cosines(plane.device)
    waves = basis @ blocks @ basis.t()
    step = _steps(plane.device) * strength[..., None, None]
    blocks = basis.t() @ ((waves / step).round() * step) @ basis
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]


def compressed(image: Tensor, strength: Tensor) -> Tensor:
    """The picture as a block encoder leaves it.

    Args:
        image: float32 [B, 3, H, W] in 0..1.
        strength: [B, 1, 1]; 1 is barely seen, 10 is a poor video.

    Returns:
        float32 [B, 3, H, W], not clamped; colour at half the resolution of brightness.
    """
    width = strength[:, None]
    weights = image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    bright = (image * weights).sum(1, keepdim=True)
    tint = avg_pool2d(image[:, ::2] - bright, 2, ceil_mode=True)
    tint = interpolate(_rounded(tint, 1.5 * width), size=image.shape[-2:], mode="nearest")
    bright = _rounded(bright, width)
    red, blue = bright + tint[:, :1], bright + tint[:, 1:]
    green = (bright - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat([red, green, blue], 1)


def painted(image: Tensor, amount: Tensor) -> Tensor:
    """The picture as brushed: small contrasts flattened, strong edges kept and darkened.

    Args:
        image: float32 [B, 3, H, W] in 0..1.
        amount: [B, 1, 1] from 0 to 1.
    """
    reach = max(1, round(0.014 * image.shape[-1]))
    window, out = 2 * reach + 1, image
    for _ in range(2):
        edged = pad(out, (reach,) * 4, mode="replicate")
        mean = avg_pool2d(edged, window, 1)
        spread = (avg_pool2d(edged * edged, window, 1) - mean * mean).clamp(min=0.0)
        out = mean + spread / (spread + 0.004) * (out - mean)
    contour = (spread.mean(1, keepdim=True) / 0.02).clamp(max=1.0) * (out < mean)
    return image + (out * (1.0 - 0.25 * contour) - image) * amount[:, None]
