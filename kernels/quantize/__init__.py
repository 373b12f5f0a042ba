"""quantize: batch norm and ReLU of a feature map, as bytes for an integer convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import check_exact, check_rank, check_shape, describe
from eamfmeg_fast.kernels.quantize import native, samples
from eamfmeg_fast.kernels.quantize.reference import quantize as quantize_reference
from eamfmeg_fast.kernels.quantize.reference import quantize_unrounded
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "quantize"]


def quantize(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Round `features * scale + shift` to whole numbers, ties to even, held to 0...255; NaN is 0.

    Holding them to 0 is a ReLU. Divide the scale and the shift of a batch norm by the size of one step beforehand.

    Args:
        features: `[B, H, W, C]`, float32 or float64, any strides; fastest with channels side by side.
        scale, shift: `[C]` of the same type.

    Returns:
        uint8 of the shape of `features`, contiguous.

    Raises:
        ShapeError: shapes that do not fit together.
        DtypeError: another type, or several.
    """
    check_rank("features", features, "BHWC")
    check_exact("features", features)
    if scale.ndim != 1:
        raise ShapeError(f"scale is {describe(scale)}", "[C]", "One number for each channel.")
    for name, x in (("scale", scale), ("shift", shift)):
        check_shape(name, x, (features.shape[3],), "features")
        check_exact(name, x, features)
    return torch.ops.eamfmeg.quantize(features, scale, shift)


def _fake(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return features.new_empty(features.shape, dtype=torch.uint8)


def _takes(features: Tensor, scale: Tensor, shift: Tensor) -> bool:
    return features.dtype == torch.float32


OP = operator(
    "quantize(Tensor features, Tensor scale, Tensor shift) -> Tensor",
    public=quantize,
    reference=quantize_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.quantize_cpu,
    unrounded=quantize_unrounded,
    triton=False,
)
