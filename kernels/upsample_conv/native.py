"""upsample_conv through csrc/: from tensors to addresses, and the kernels' packed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendError, ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_dtype, check_packed, describe
from eamfmeg_fast.kernels.compiled import DTYPE, library
from eamfmeg_fast.kernels.tiles import check_tiles

# Numbers of csrc/upsample_conv/upsample_conv.h.
_PRODUCTS = 9
_PANEL = 32
_TYPES = (torch.float16, torch.bfloat16, torch.float32)
_PRODUCT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pack_phases(weight: Tensor, products: str = "float32", lib: Any = None) -> Tensor:
    """The kernels as the CPU room reads them: nine sums of each, in panels of output channels.

    The layout is private to the room and the same for every processor. An engine packs once and hands the result to
    `upsample_conv_cpu` with the unchanged `weight`; about as many numbers, rounded up to 32 output channels and, for
    products of bfloat16, to two input channels.

    Args:
        weight: `[O, C, 3, 3]`, float16, bfloat16 or float32, any strides, on the CPU.
        products: "float32"; or "bfloat16", with which sums of kernels and differences of features are rounded to
            bfloat16 and only then multiplied, still summed in float32; subnormal numbers may count as zero. Twice as
            fast where a processor has AVX512_BF16.
        lib: replaces the compiled library (planted faults).

    Returns:
        One axis, of the type of the products, on a 64-byte boundary.

    Raises:
        ShapeError: another shape, or an empty axis.
        DtypeError: another type.
        BackendError: `weight` is not on the CPU.
        OptionError: unknown `products`.
    """
    check_choice("products", products, _PRODUCT_TYPES)
    if weight.ndim != 4 or tuple(weight.shape[2:]) != (3, 3) or weight.numel() == 0:
        raise ShapeError(f"weight is {describe(weight)}", "[O, C, 3, 3], nothing empty", "Pass the convolution's own.")
    check_dtype("weight", weight, _TYPES)
    if weight.device.type != "cpu":
        raise BackendError(f"weight is on {weight.device}", "the CPU", "Kernels are packed there: pass weight.cpu().")
    outer, inner = weight.shape[:2]
    dtype = _PRODUCT_TYPES[products]
    # A process may have chosen another default type or device.
    packed = torch.empty(_packed_numbers(weight, dtype), dtype=dtype, device="cpu")
    compiled = lib or library("_C")
    compiled.upsample_conv_pack_cpu(
        packed.data_ptr(), weight.data_ptr(), outer, inner, *weight.stride(), DTYPE[weight.dtype], DTYPE[dtype]
    )
    return packed


def _packed_numbers(weight: Tensor, dtype: torch.dtype) -> int:
    in_word = 4 // dtype.itemsize
    return -(-weight.shape[0] // _PANEL) * _PANEL * _PRODUCTS * -(-weight.shape[1] // in_word) * in_word


def _checked(packed: Tensor, weight: Tensor) -> Tensor:
    check_dtype("packed", packed, tuple(_PRODUCT_TYPES.values()))
    check_packed(packed, _packed_numbers(weight, packed.dtype), packed.dtype)
    return packed


def upsample_conv_cpu(
    out: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lib: Any = None,
    packed: Tensor | None = None,
    *,
    relu: bool = False,
    tiles: Tensor | None = None,
    tile: int = 0,
    repair: bool = True,
) -> None:
    """Write the result into `out`, on the CPU. The caller has checked shapes and types.

    Args:
        out: `[B, 2 H, 2 W, O]`, contiguous, or some neighbouring channels of a wider map that is.
        features: `[B, H, W, C]`; weight: `[O, C, 3, 3]`; bias: `[O]` or None. Of features and `out`, each is float32 or
            bfloat16, or both are float16; weight and bias are any of the three.
        lib: replaces the compiled library (planted faults).
        packed: `pack_phases(weight)`, whose type says how products are made; without it the kernels are packed in this
            call, for products of float32.
        relu: replace what is below zero by zero.
        tiles: int32 `[T]`, contiguous, sorted, unique: `(image * rows + row) * columns + column` of squares of `tile`
            input pixels a side, of which H and W are multiples. Only their outputs are written, with the same bits.
        repair: compute again, by the definition, what sees an infinity and is not finite. Without, the result is right
            for |features| < 2^67, what sees larger ones may be infinite or NaN, and only the shape of `weight` is read
            where there is `packed`.

    Raises:
        ShapeError: squares that do not fit, or that are not there; `packed` from another weight.
        DtypeError: `tiles` or `packed` of another type.
    """
    if tiles is not None:
        check_tiles(tiles, tile, tuple(features.shape))
    packed = _checked(pack_phases(weight, lib=lib) if packed is None else packed, weight)
    (lib or library("_C")).upsample_conv_cpu(
        out.data_ptr(),
        out.stride(2),
        DTYPE[out.dtype],
        features.data_ptr(),
        DTYPE[features.dtype],
        *features.shape,
        *features.stride(),
        packed.data_ptr(),
        DTYPE[packed.dtype],
        weight.data_ptr() if repair else 0,
        DTYPE[weight.dtype],
        weight.shape[0],
        *weight.stride(),
        0 if bias is None else bias.data_ptr(),
        0 if bias is None else DTYPE[bias.dtype],
        0 if bias is None else bias.stride(0),
        int(relu),
        0 if tiles is None else tiles.data_ptr(),
        -1 if tiles is None else tiles.numel(),
        tile,
    )
