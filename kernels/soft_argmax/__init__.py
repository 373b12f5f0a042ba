"""Softmax over a map of logits and the expected position and Jacobian under it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import (
    check_choice,
    check_exact,
    check_positive,
    check_rank,
    check_shape,
    describe,
)
from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.geometry import PixelGrid
from eamfmeg_fast.kernels.registration import operator
from eamfmeg_fast.kernels.soft_argmax import native, samples
from eamfmeg_fast.kernels.soft_argmax import reference as plain

__all__ = ["OP", "soft_argmax"]


def soft_argmax(
    logits: Tensor, jacobian_map: Tensor, temperature: float, pixel_grid: PixelGrid = "corners"
) -> tuple[Tensor, Tensor]:
    """Keypoints and Jacobians: means of position and of `jacobian_map` under softmax(logits / temperature).

    Convention:
        The positions are those of `pixel_grid` over the map itself, (x, y) in [-1, 1] (FOMM, section 3.1).

    Args:
        logits: `[B, H, W, K]` float32 or float64, any strides; fastest with the K numbers of a pixel side by side.
        jacobian_map: `[B, H, W, K, 2, 2]`, the same type. Both may be slices of one `[B, H, W, 5 K]` tensor.
        temperature: divides the logits, above zero.

    Returns:
        kp `[B, K, 2]` and jacobian `[B, K, 2, 2]`, contiguous. Differentiable.

    Raises:
        ShapeError: another number of axes, maps that do not match, or a map without pixels.
        DtypeError: another type.
        OptionError: a temperature that is not above zero, or an unknown grid.
    """
    check_rank("logits", logits, "BHWK")
    check_exact("logits", logits)
    check_exact("jacobian_map", jacobian_map, logits)
    check_shape("jacobian_map", jacobian_map, (*logits.shape, 2, 2), f"logits {list(logits.shape)}")
    if 0 in logits.shape[1:3]:
        raise ShapeError(f"logits is {describe(logits)}", "a map of at least one pixel")
    check_positive("temperature", temperature)
    check_choice("pixel_grid", pixel_grid, PIXEL_GRID)
    return torch.ops.eamfmeg.soft_argmax(logits, jacobian_map, temperature, pixel_grid)


def _fake(logits: Tensor, jacobian_map: Tensor, temperature: float, pixel_grid: str) -> tuple[Tensor, Tensor]:
    batch, count = logits.shape[0], logits.shape[3]
    return logits.new_empty(batch, count, 2), logits.new_empty(batch, count, 2, 2)


def _takes(logits: Tensor, jacobian_map: Tensor, temperature: float, pixel_grid: str) -> bool:
    # A grid of blocks has at most 65535 along the axis that the batch takes.
    return logits.dtype == torch.float32 and logits.shape[0] < 1 << 16


OP = operator(
    "soft_argmax(Tensor logits, Tensor jacobian_map, float temperature, str pixel_grid) -> (Tensor, Tensor)",
    public=soft_argmax,
    reference=plain.soft_argmax,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.soft_argmax_cpu,
)
