"""dense_motion through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID, launch, library

Results = tuple[Tensor | None, Tensor, Tensor]


def dense_motion_cpu(
    out: Results, mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: str, lib: Any = None
) -> None:
    """Write mask, flow and occlusion on the CPU into the contiguous `out`; a mask of None is not written.

    `mask_logits` and `occlusion_logits` may be parts of one packed tensor: nothing is copied. `lib` replaces the
    compiled library (planted faults).
    """
    affine = affine.contiguous()
    call = _arguments(out, mask_logits, occlusion_logits, affine, pixel_grid)
    (lib or library("_C")).dense_motion_cpu(*call)


def dense_motion_cuda(
    out: Results, mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: str, lib: Any = None
) -> None:
    """The same on a CUDA device."""
    affine = affine.contiguous()
    call = _arguments(out, mask_logits, occlusion_logits, affine, pixel_grid)
    launch(lib, "dense_motion_cuda", mask_logits.device, *call)


def _arguments(
    out: Results, mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: str
) -> tuple[int, ...]:
    addresses = [0 if x is None else x.data_ptr() for x in (*out, mask_logits, occlusion_logits, affine)]
    strides = (*mask_logits.stride(), *occlusion_logits.stride())
    return (*addresses, *mask_logits.shape, *strides, PIXEL_GRID[pixel_grid])
