"""warp_occlude through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import DTYPE, launch, library


def warp_occlude_cpu(
    out: Tensor, features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, lib: Any = None
) -> None:
    """Warp into the contiguous `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    features = channels_side_by_side(features)
    call = _arguments(out, features, flow, occlusion, align_corners)
    (lib or library("_C")).warp_occlude_cpu(*call)


def warp_occlude_cuda(
    out: Tensor, features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, lib: Any = None
) -> None:
    """Warp into the contiguous `out` on its CUDA device."""
    features = channels_side_by_side(features)
    call = _arguments(out, features, flow, occlusion, align_corners)
    launch(lib, "warp_occlude_cuda", features.device, *call)


def channels_side_by_side(features: Tensor) -> Tensor:
    """`features` with channel stride 1: a packed copy if need be, which costs less than reading strided taps."""
    return features if features.stride(3) == 1 or features.shape[3] == 1 else features.contiguous()


def _arguments(
    out: Tensor, features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool
) -> tuple[int, ...]:
    addresses = (out.data_ptr(), features.data_ptr(), flow.data_ptr(), 0 if occlusion is None else occlusion.data_ptr())
    occlusion_strides = (0, 0, 0) if occlusion is None else occlusion.stride()
    sizes = (*features.shape, *features.stride()[:3], *flow.shape[1:3], *flow.stride(), *occlusion_strides)
    return (*addresses, *sizes, DTYPE[features.dtype], int(align_corners))
