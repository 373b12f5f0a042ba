"""conv3x3: a 3x3 convolution with what stands around it in a residual block."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_exact, check_rank, check_shape, describe
from eamfmeg_fast.kernels.conv3x3 import native, samples
from eamfmeg_fast.kernels.conv3x3.native import PRODUCTS, pack_conv3x3, scratch_floats
from eamfmeg_fast.kernels.conv3x3.reference import conv3x3 as conv3x3_reference
from eamfmeg_fast.kernels.conv3x3.reference import direct
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "conv3x3", "pack_conv3x3", "scratch_floats"]


def conv3x3(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    products: str,
) -> Tensor:
    """Convolve 3x3, stride 1, with zero padding 1, by Winograd F(4x4, 3x3): a quarter of the multiplications.

    Only the factors of the products are ever rounded to less than float32; with products of bfloat16, subnormal numbers
    may count as zero. Outputs are computed in tiles of 4x4: a NaN reaches the rows and columns of the tile that it lies
    in and of what sees it. What an infinity does to the other outputs of the tiles that see it is not specified: pass
    finite features. On a GPU the vendor's convolution runs instead.

    Args:
        features: `[B, H, W, C]`, float32 or float64, any strides; only B may be 0.
        weight: `[O, C, 3, 3]`, finite; bias: `[O]` or None.
        scale, shift: `[C]`, or None for both: the input is then `relu(features * scale + shift)`.
        residual: `[B, H, W, O]`, added at the end, or None; all tensors have the type of `features`.
        relu: whether the sum with the bias is cut off at zero, before the residual is added.
        products: "float32" or "bfloat16": what transformed inputs and kernels are rounded to before they are
            multiplied. The sums are float32. In float64 nothing is rounded.

    Returns:
        `[B, H, W, O]`, contiguous, same type. Differentiable.

    Raises:
        ShapeError: shapes that do not fit together, an empty axis, or one of `scale` and `shift` alone.
        DtypeError: another type, or several.
        OptionError: unknown `products`.

    Convention:
        Outside the picture the input is zero, also where `shift` is not.
    """
    check_rank("features", features, "BHWC")
    check_exact("features", features)
    check_choice("products", products, PRODUCTS)
    outer = weight.shape[0] if weight.ndim else 0
    wanted = [outer, features.shape[3], 3, 3]
    if list(weight.shape) != wanted or 0 in weight.shape or 0 in features.shape[1:]:
        given = f"features are {describe(features)}, weight is {describe(weight)}"
        raise ShapeError(given, "[B, H, W, C] and [O, C, 3, 3], only B may be 0", "Pass the convolution's own weight.")
    if (scale is None) != (shift is None):
        alone = "shift" if scale is None else "scale"
        raise ShapeError(f"only {alone} is given", "scale and shift, or neither", "Ones and zeros change nothing.")
    _check_others(features, weight, bias=bias, scale=scale, shift=shift, residual=residual)
    return torch.ops.eamfmeg.conv3x3(features, weight, bias, scale, shift, residual, relu, products)


def _check_others(features: Tensor, weight: Tensor, **others: Tensor | None) -> None:
    outer, inner = weight.shape[:2]
    shapes = {"bias": (outer,), "scale": (inner,), "shift": (inner,), "residual": (*features.shape[:3], outer)}
    for name, x in {"weight": weight, **others}.items():
        if x is None:
            continue
        if name in shapes:
            check_shape(name, x, shapes[name], "features and weight")
        if x.dtype != features.dtype:
            raise DtypeError(f"{name} is {describe(x)}", str(features.dtype).removeprefix("torch."), "Use one type.")


def _fake(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    products: str,
) -> Tensor:
    return features.new_empty((*features.shape[:3], weight.shape[0]))


def _takes(features: Tensor, *others: object) -> bool:
    return features.dtype == torch.float32


OP = operator(
    "conv3x3(Tensor features, Tensor weight, Tensor? bias, Tensor? scale, Tensor? shift, Tensor? residual, bool relu, "
    "str products) -> Tensor",
    public=conv3x3,
    reference=conv3x3_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.conv3x3_cpu,
    triton=False,
    vendor=direct,
)
