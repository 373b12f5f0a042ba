"""narrow_conv: a convolution with few output channels."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.checks import check_dtype, check_rank, describe
from eamfmeg_fast.kernels.narrow_conv import native, samples
from eamfmeg_fast.kernels.narrow_conv.native import pack_narrow
from eamfmeg_fast.kernels.narrow_conv.reference import direct
from eamfmeg_fast.kernels.narrow_conv.reference import narrow_conv as narrow_conv_reference
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "narrow_conv", "pack_narrow"]

_KERNELS = (1, 3, 5, 7)
_MOST = 8


def narrow_conv(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with a small square kernel, stride 1, zero padding K // 2, into at most eight channels.

    Args:
        features: `[B, H, W, C]`, float32, bfloat16 or float64, any strides; only B may be 0.
        weight: `[O, C, K, K]` with O <= 8 and K one of 1, 3, 5, 7, finite; bias: `[O]` or None; both float32, or
            float64 where features are. Beside bfloat16 features the weights are rounded to it, the bias is not.

    Returns:
        `[B, H, W, O]`, contiguous, float32 (float64 for float64), which sums the exact products of bfloat16.
        Differentiable. Subnormal bfloat16 may count as zero. On a GPU it is the vendor's convolution, float32 without
        TensorFloat-32.

    Raises:
        ShapeError: shapes that do not fit together, an empty axis, another kernel, or more output channels.
        DtypeError: another type.
    """
    check_rank("features", features, "BHWC")
    check_dtype("features", features, (torch.float32, torch.bfloat16, torch.float64))
    outer, side = (weight.shape[0], weight.shape[-1]) if weight.ndim == 4 else (0, 0)
    fits = list(weight.shape) == [outer, features.shape[3], side, side] and 0 not in features.shape[1:]
    if not fits or side not in _KERNELS or not 1 <= outer <= _MOST:
        given = f"features are {describe(features)}, weight is {describe(weight)}"
        raise ShapeError(given, "[B, H, W, C] and [O, C, K, K] with O <= 8 and K = 1, 3, 5 or 7, only B may be 0")
    if bias is not None and list(bias.shape) != [outer]:
        raise ShapeError(f"bias is {describe(bias)}", f"[{outer}]", "One number for each output channel, or None.")
    wanted = torch.promote_types(features.dtype, torch.float32)
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and x.dtype != wanted:
            raise DtypeError(
                f"{name} is {describe(x)}", str(wanted).removeprefix("torch."), "Convert it with .to(...)."
            )
    return torch.ops.eamfmeg.narrow_conv(features, weight, bias)


def _fake(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    exact = torch.promote_types(features.dtype, torch.float32)
    return features.new_empty((*features.shape[:3], weight.shape[0]), dtype=exact)


def _takes(features: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return features.dtype != torch.float64


OP = operator(
    "narrow_conv(Tensor features, Tensor weight, Tensor? bias) -> Tensor",
    public=narrow_conv,
    reference=narrow_conv_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.narrow_conv_cpu,
    triton=False,
    vendor=direct,
)
