"""sparse_motion through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID, library


def sparse_motion_cpu(
    out: Tensor,
    thumbnail: Tensor,
    kp_target: Tensor,
    kp_driving: Tensor,
    affine: Tensor,
    variance: float,
    pixel_grid: str,
    align_corners: bool,
    lib: Any = None,
) -> None:
    """Write the hourglass input into `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    kp_target, kp_driving, affine = kp_target.contiguous(), kp_driving.contiguous(), affine.contiguous()
    (lib or library("_C")).sparse_motion_cpu(
        out.data_ptr(),
        thumbnail.data_ptr(),
        kp_target.data_ptr(),
        kp_driving.data_ptr(),
        affine.data_ptr(),
        *thumbnail.shape[:3],
        *thumbnail.stride(),
        kp_target.shape[1],
        -0.5 / variance,
        PIXEL_GRID[pixel_grid],
        int(align_corners),
    )
