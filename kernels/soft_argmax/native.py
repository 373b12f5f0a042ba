"""soft_argmax through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID, library


def soft_argmax_cpu(
    out: tuple[Tensor, Tensor],
    logits: Tensor,
    jacobian_map: Tensor,
    temperature: float,
    pixel_grid: str,
    lib: Any = None,
) -> None:
    """Write keypoints and Jacobians into `out` on the CPU; `lib` replaces the compiled library (planted faults)."""
    logits, maps = side_by_side(logits, jacobian_map)
    (lib or library("_C")).soft_argmax_cpu(
        out[0].data_ptr(),
        out[1].data_ptr(),
        logits.data_ptr(),
        maps.data_ptr(),
        *logits.shape,
        *logits.stride()[:3],
        *maps.stride()[:3],
        *inverse_in_two(temperature),
        PIXEL_GRID[pixel_grid],
    )


def side_by_side(logits: Tensor, jacobian_map: Tensor) -> tuple[Tensor, Tensor]:
    """The same, copied where the channels of a pixel do not lie side by side."""
    count = logits.shape[3]
    logits = logits if logits.stride(3) == 1 or count == 1 else logits.contiguous()
    together = jacobian_map.stride()[4:] == (2, 1) and (jacobian_map.stride(3) == 4 or count == 1)
    return logits, jacobian_map if together else jacobian_map.contiguous()


def inverse_in_two(temperature: float) -> tuple[float, float]:
    """One over the temperature as a float32 and what rounding took from it."""
    inverse = 1 / temperature
    rounded = float(np.float32(inverse))
    return rounded, inverse - rounded
