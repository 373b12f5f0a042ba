"""What belongs to the camera and not to the face: grain stays where it is while the skin under it moves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SIGMA_PX = 2.0
_LIMIT = 3.0
_NORMAL = 0.6745
"""Median of |x| for normal x of deviation 1."""


def split_grain(picture: Tensor) -> tuple[Tensor, Tensor]:
    """A picture as what moves plus what does not.

    Grain is the detail finer than a Gaussian of 2 px, cut off at three times its robust deviation (median of its size
    over the picture, channel by channel): sensor noise, dither, blocks. Pores, lashes and contours are stronger and
    stay with the face. A pattern at the limit of resolution that moves by half a pixel vanishes, and one that stays
    does not; that is also how it is in a real recording.

    Args:
        picture: `[B, 3, H, W]` in [0, 1].

    Returns:
        base and grain, `[B, 3, H, W]` each; their sum is the picture.
    """
    reach = int(4 * _SIGMA_PX)
    offset = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    line = torch.exp(-(offset**2) / (2 * _SIGMA_PX**2))
    line = line / line.sum()
    channels = picture.shape[1]
    blurred = F.pad(picture, (reach, reach, reach, reach), mode="reflect")
    blurred = F.conv2d(blurred, line.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
    blurred = F.conv2d(blurred, line.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    detail = picture - blurred
    limit = detail.abs().flatten(2).median(dim=-1).values * (_LIMIT / _NORMAL)
    limit = limit[..., None, None]
    grain = torch.maximum(torch.minimum(detail, limit), -limit)
    return picture - grain, grain
