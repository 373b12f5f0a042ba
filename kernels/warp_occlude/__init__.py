"""Bilinear warp of a feature map along a flow, times the occlusion."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank, describe
from eamfmeg_fast.kernels.registration import operator
from eamfmeg_fast.kernels.warp_occlude import native, samples
from eamfmeg_fast.kernels.warp_occlude.reference import warp_occlude as warp_occlude_reference

__all__ = ["OP", "warp_occlude"]

_LONGEST = 1 << 24
_MOST = 1 << 31


def warp_occlude(
    features: Tensor, flow: Tensor, occlusion: Tensor | None = None, align_corners: bool = False
) -> Tensor:
    """Sample `features` at `flow`, bilinear, zeros outside, and multiply each output pixel by its occlusion.

    Convention:
        flow is absolute, backward, (x, y) in [-1, 1]. align_corners=False: -1 is the outer edge of the first pixel
        (PyTorch since 1.4); True: its centre. A sample with a non-finite coordinate counts as outside.

    Args:
        features: `[B, H, W, C]`, float16, bfloat16, float32 or float64, any strides; channels side by side are fastest.
            16-bit types are sampled in float32.
        flow: `[B, h, w, 2]`, float32, or float64 where features are.
        occlusion: `[B, h, w]`, types as flow; None: 1 everywhere.
        align_corners: as above.

    Returns:
        `[B, h, w, C]` in the type of `features`, contiguous. Differentiable.

    Raises:
        ShapeError: another number of axes, sizes that do not fit, or features without pixels.
        DtypeError: another type.
    """
    check_rank("features", features, "BHWC")
    check_dtype("features", features, FLOATS)
    _check_beside(features, flow, occlusion)
    return torch.ops.eamfmeg.warp_occlude(features, flow, occlusion, align_corners)


def _check_beside(features: Tensor, flow: Tensor, occlusion: Tensor | None) -> None:
    allowed = (torch.float32, torch.float64) if features.dtype == torch.float64 else (torch.float32,)
    check_rank("flow", flow, "BhwX")
    check_dtype("flow", flow, allowed)
    batch, height, width, channels = features.shape
    if flow.shape[0] != batch or flow.shape[3] != 2:
        raise ShapeError(f"flow is {describe(flow)}", f"[{batch}, h, w, 2]", "Features and flow share the batch.")
    if 0 in (height, width, channels):
        raise ShapeError(f"features are {describe(features)}", "at least one pixel and one channel", "")
    if occlusion is None:
        return
    check_dtype("occlusion", occlusion, allowed)
    if occlusion.shape != flow.shape[:3]:
        wanted = f"{list(flow.shape[:3])}, one number for each pixel of flow"
        raise ShapeError(f"occlusion is {describe(occlusion)}", wanted, "Drop its channel axis.")


def _fake(features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool) -> Tensor:
    return torch.empty((*flow.shape[:3], features.shape[3]), dtype=features.dtype, device=features.device)


def _takes(features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool) -> bool:
    small = max(features.shape[1:3]) <= _LONGEST and flow.numel() < _MOST
    return small and features.dtype != torch.float64


OP = operator(
    "warp_occlude(Tensor features, Tensor flow, Tensor? occlusion, bool align_corners) -> Tensor",
    public=warp_occlude,
    reference=warp_occlude_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.warp_occlude_cpu,
    cuda=native.warp_occlude_cuda,
)
