"""Warp and occlusion in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FAR = 100.0
"""Outside every picture, and small enough that pixel coordinates do not overflow in any type."""


def warp(features: Tensor, flow: Tensor, align_corners: bool = False) -> Tensor:
    """Sample `features` at `flow`, bilinear, zeros outside.

    Convention:
        flow is absolute, backward, (x, y) in [-1, 1]. align_corners=False: -1 is the outer edge of the first pixel
        (PyTorch since 1.4); True: its centre. A sample with a non-finite coordinate counts as outside.

    Args:
        features: `[B, H, W, C]` floating point. 16-bit types are sampled in float32: in their own, the flow's
            coordinates would be rounded to whole pixels.
        flow: `[B, h, w, 2]`.

    Returns:
        `[B, h, w, C]` in the type of `features`.
    """
    return _sample(features, flow, align_corners).to(features.dtype)


def _sample(features: Tensor, flow: Tensor, align_corners: bool) -> Tensor:
    exact = features.to(torch.promote_types(features.dtype, torch.float32))
    flow = flow.to(exact.dtype)
    out = F.grid_sample(
        exact.permute(0, 3, 1, 2), _bounded(flow), mode="bilinear", padding_mode="zeros", align_corners=align_corners
    )
    # With align_corners a picture of one pixel has no outside: say so here.
    finite = torch.isfinite(flow).all(dim=-1, keepdim=True)
    return torch.where(finite, out.permute(0, 2, 3, 1), 0)


def warp_cubic(picture: Tensor, flow: Tensor, align_corners: bool = False) -> Tensor:
    """Sample a picture `[B, H, W, C]` at `flow` with Keys' cubic kernel (a = -0.75); the border pixels repeat outside.

    Convention:
        As `warp`. Far less detail is lost than with two taps, and none where the flow is at rest.
    """
    out = F.grid_sample(
        picture.permute(0, 3, 1, 2), _bounded(flow), mode="bicubic", padding_mode="border", align_corners=align_corners
    )
    return out.permute(0, 2, 3, 1)


def warp_occlude(features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool = False) -> Tensor:
    """`warp`, times the occlusion `[B, h, w]` of each output pixel where there is one. FOMM, equation 6."""
    out = _sample(features, flow, align_corners)
    if occlusion is not None:
        out = out * occlusion[..., None].to(out.dtype)
    return out.to(features.dtype)


def _bounded(flow: Tensor) -> Tensor:
    return torch.nan_to_num(flow, nan=_FAR, posinf=_FAR, neginf=-_FAR).clamp(-_FAR, _FAR)
