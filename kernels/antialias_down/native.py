"""antialias_down through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import DTYPE, library


def antialias_down_cpu(out: Tensor, picture: Tensor, kernel: Tensor, stride: int, lib: Any = None) -> None:
    """Write the thumbnail into `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    picture, kernel = in_rows(picture), kernel.contiguous()
    (lib or library("_C")).antialias_down_cpu(
        out.data_ptr(),
        picture.data_ptr(),
        kernel.data_ptr(),
        *picture.shape,
        *picture.stride(),
        kernel.shape[0],
        stride,
        DTYPE[picture.dtype],
    )


def in_rows(picture: Tensor) -> Tensor:
    """The same, copied unless whole pixels or the pixels of each plane lie side by side."""
    together = picture.stride(3) == 1 and picture.stride(2) == picture.shape[3]
    return picture if together or picture.stride(2) == 1 else picture.contiguous()
