"""What belongs to the camera and not to the face: grain stays where it is while the skin under it moves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SIGMA_PX = 2.0
_LIMIT = 5.0
_FAR = 2.5
_NORMAL = 0.6745
"""Median of |x| for normal x of deviation 1."""
_BLOCK_PX = 16
_TINY = 1e-12
_UNEVEN, _EVEN = 0.45, 0.65
"""Detail of the weakest tenth of all blocks in parts of the median block's, 1 for noise alone."""


def split_grain(picture: Tensor) -> tuple[Tensor, Tensor]:
    """A picture as what moves plus what does not.

    Grain is detail finer than a Gaussian of 2 px: sensor noise, dither, blocks. A pattern at the limit of resolution
    that moves by half a pixel vanishes, and one that stays does not; that is also how it is in a real recording. In a
    grainy picture detail is as strong in one place as in another, and all of it, cut off at five times its robust
    deviation (from the median of its size, channel by channel), is taken for grain. In a clean one it is pores, lashes
    and contours: only what is weak there is, and nothing of what is strong, so that no ghost of a contour stays
    behind. Between the two the split is between.

    Args:
        picture: `[B, 3, H, W]` in [0, 1].

    Returns:
        base and grain, `[B, 3, H, W]` each; their sum is the picture.
    """
    detail = picture - _blurred(picture)
    sigma = detail.abs().flatten(2).median(dim=-1).values[..., None, None] / _NORMAL
    limit = _LIMIT * sigma
    all_of_it = torch.maximum(torch.minimum(detail, limit), -limit)
    weak = detail * (1 - (detail / (_FAR * sigma).clamp(min=_TINY)).square().clamp(max=1)).square()
    grain = weak + _graininess(detail) * (all_of_it - weak)
    return picture - grain, grain


def _graininess(detail: Tensor) -> Tensor:
    """How evenly detail is spread, `[B, 1, 1, 1]`: 0 clean, 1 grainy."""
    block = min(_BLOCK_PX, *detail.shape[2:])
    blocks = F.avg_pool2d(detail.square().mean(1, keepdim=True), block).sqrt().flatten(1)
    weakest, median = torch.quantile(blocks, torch.tensor([0.1, 0.5], dtype=blocks.dtype, device=blocks.device), dim=1)
    even = (weakest / median.clamp(min=_TINY) - _UNEVEN) / (_EVEN - _UNEVEN)
    return even.clamp(0, 1)[:, None, None, None]


def _blurred(picture: Tensor) -> Tensor:
    reach = int(4 * _SIGMA_PX)
    offset = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    line = torch.exp(-(offset**2) / (2 * _SIGMA_PX**2))
    line = line / line.sum()
    channels = picture.shape[1]
    blurred = F.pad(picture, (reach, reach, reach, reach), mode="reflect")
    blurred = F.conv2d(blurred, line.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(blurred, line.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
