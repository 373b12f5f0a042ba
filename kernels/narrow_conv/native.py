"""narrow_conv through csrc/: from tensors to addresses, and the kernels' packed form."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_packed, describe
from eamfmeg_fast.kernels.compiled import DTYPE, library
from eamfmeg_fast.kernels.tiles import check_tiles

PRODUCTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pack_narrow(weight: Tensor, products: str) -> Tensor:
    """The kernels as the CPU room reads them. An engine packs once and hands the result to `narrow_conv_cpu`.

    The layout is private to the room and the same for every processor.

    Args:
        weight: `[O, C, K, K]`, float32, any strides.
        products: "float32" or "bfloat16", the type of the features that will be multiplied.

    Returns:
        Contiguous, of the type `products`: rows, input channels, columns, output channels; for bfloat16 pairs of input
        channels, zero beyond the last.

    Raises:
        ShapeError: another number of axes.
        OptionError: other products.
    """
    check_choice("products", products, PRODUCTS)
    if weight.ndim != 4:
        raise ShapeError(f"weight is {describe(weight)}", "[O, C, K, K]", "Pass the convolution's own.")
    ordered = weight.detach().permute(2, 1, 3, 0).to(PRODUCTS[products])
    if products == "float32":
        return ordered.contiguous()
    rows, inner, columns, outer = ordered.shape
    even = F.pad(ordered, (0, 0, 0, 0, 0, inner % 2))
    return even.reshape(rows, -1, 2, columns, outer).permute(0, 1, 3, 4, 2).contiguous()


def narrow_conv_cpu(
    out: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lib: Any = None,
    packed: Tensor | None = None,
    tiles: Tensor | None = None,
    tile: int = 32,
) -> None:
    """Write the result into the contiguous `out`, on the CPU.

    Args:
        out: `[B, H, W, O]` float32; features: `[B, H, W, C]`, float32 or bfloat16; weight: `[O, C, K, K]`; bias: `[O]`
            or None; both float32.
        lib: replaces the compiled library (planted faults).
        packed: `pack_narrow(weight, <type of features>)`; without it the kernels are packed in this call.
        tiles: int32 `[T]`, sorted, unique: only these squares are written, the same numbers as without it. A square
            has the number (image * rows + row) * columns + column.
        tile: pixels of a square's side; H and W are multiples of it.

    Raises:
        ShapeError: squares that do not fit, or that are not there; `packed` from another weight.
        DtypeError: `tiles` of another type, or `packed` for another type of features.
    """
    if tiles is not None:
        check_tiles(tiles, tile, tuple(features.shape))
    if packed is None:
        packed = pack_narrow(weight, str(features.dtype).removeprefix("torch."))
    outer, inner, side = weight.shape[:3]
    even = inner if features.dtype == torch.float32 else inner + inner % 2
    check_packed(packed, side * even * side * outer, features.dtype)
    if bias is not None:
        bias = bias.contiguous()
    (lib or library("_C")).narrow_conv_cpu(
        out.data_ptr(),
        features.data_ptr(),
        *features.shape,
        *features.stride(),
        packed.data_ptr(),
        weight.shape[2],
        weight.shape[0],
        0 if bias is None else bias.data_ptr(),
        0 if tiles is None else tiles.data_ptr(),
        -1 if tiles is None else tiles.numel(),
        tile,
        DTYPE[features.dtype],
    )
