"""quantize through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import library


def quantize_cpu(out: Tensor, features: Tensor, scale: Tensor, shift: Tensor, lib: Any = None) -> None:
    """Write the bytes into `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    scale, shift = scale.contiguous(), shift.contiguous()
    (lib or library("_C")).quantize_cpu(
        out.data_ptr(), features.data_ptr(), scale.data_ptr(), shift.data_ptr(), *features.shape, *features.stride()
    )
