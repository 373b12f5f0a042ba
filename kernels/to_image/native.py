"""to_image through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import DTYPE, library


def to_image_cpu(out: Tensor, prediction: Tensor, from_logits: bool, lib: Any = None) -> None:
    """Write the pixels into `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    x = prediction if prediction.ndim == 4 else prediction[None]
    (lib or library("_C")).to_image_cpu(
        out.data_ptr(), x.data_ptr(), *x.shape, *x.stride(), int(from_logits), DTYPE[x.dtype]
    )
