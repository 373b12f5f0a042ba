"""upsample_conv: nearest-neighbour doubling followed by a 3x3 convolution."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank, describe
from eamfmeg_fast.kernels.registration import operator
from eamfmeg_fast.kernels.upsample_conv import native, samples
from eamfmeg_fast.kernels.upsample_conv.native import pack_phases
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv as upsample_conv_reference

__all__ = ["OP", "pack_phases", "upsample_conv"]


def upsample_conv(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Repeat every pixel twice in both directions, then convolve 3x3 with zero padding 1.

    The result is what the two steps give, with at most 4/9 of their multiplications: rows and columns of the kernel
    that meet the same pixel are summed first. What sees a NaN is NaN; what sees an infinity is not finite.

    Args:
        features: `[B, H, W, C]`, float16, bfloat16, float32 or float64, any strides; only B may be 0.
        weight: `[O, C, 3, 3]`, finite; bias: `[O]` or None; both of the type of `features`.

    Returns:
        `[B, 2 H, 2 W, O]`, contiguous, same type. Differentiable. The 16-bit types are summed in float32.

    Raises:
        ShapeError: shapes that do not fit together, or an empty axis.
        DtypeError: another type, or several.

    Convention:
        Output pixels 2 i and 2 i + 1 lie on input pixel i (nearest); outside the picture is zero.
    """
    check_rank("features", features, "BHWC")
    check_dtype("features", features, FLOATS)
    outer = weight.shape[0] if weight.ndim else 0
    wanted = [outer, features.shape[3], 3, 3]
    if list(weight.shape) != wanted or 0 in weight.shape or 0 in features.shape[1:]:
        given = f"features are {describe(features)}, weight is {describe(weight)}"
        raise ShapeError(given, "[B, H, W, C] and [O, C, 3, 3], only B may be 0", "Pass the convolution's own weight.")
    if bias is not None and list(bias.shape) != [outer]:
        raise ShapeError(f"bias is {describe(bias)}", f"[{outer}]", "One number for each output channel, or None.")
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and x.dtype != features.dtype:
            raise DtypeError(f"{name} is {describe(x)}", str(features.dtype).removeprefix("torch."), "Use one type.")
    return torch.ops.eamfmeg.upsample_conv(features, weight, bias)


def _fake(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    b, h, w, _ = features.shape
    return features.new_empty((b, 2 * h, 2 * w, weight.shape[0]))


def _takes(features: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return features.dtype != torch.float64


OP = operator(
    "upsample_conv(Tensor features, Tensor weight, Tensor? bias) -> Tensor",
    public=upsample_conv,
    reference=upsample_conv_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.upsample_conv_cpu,
)
