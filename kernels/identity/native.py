"""identity through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import launch, library


def identity_cpu(out: Tensor, x: Tensor, lib: Any = None) -> None:
    """Copy `x` into the contiguous `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    (lib or library("_C")).identity_cpu(out.data_ptr(), x.data_ptr(), *_sizes(x), x.element_size())


def identity_cuda(out: Tensor, x: Tensor, lib: Any = None) -> None:
    """Copy `x` into the contiguous `out` on its CUDA device."""
    launch(lib, "identity_cuda", x.device, out.data_ptr(), x.data_ptr(), *_sizes(x), x.element_size())


def _sizes(x: Tensor) -> tuple[int, ...]:
    x = x if x.ndim == 4 else x[None]
    return (*x.shape, *x.stride())
