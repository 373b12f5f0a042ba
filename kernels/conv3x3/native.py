"""conv3x3 through csrc/: from tensors to addresses, the kernels' transforms, and the memory that a call works in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendError, DtypeError, InputError, ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_dtype, describe
from eamfmeg_fast.kernels.compiled import DTYPE, library

PRODUCTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Types of the factors, by the name that a call gives."""
# Numbers of csrc/conv3x3/conv3x3.h, and the longest strip of tiles.
_FREQUENCIES, _PANEL, _WORDS, _LONGEST = 36, 32, 16, 14
_LINE = 64
_MOST_FLOATS = 2_800_000


def pack_conv3x3(weight: Tensor, products: str, lib: Any = None) -> Tensor:
    """The kernels as the CPU room reads them: 36 numbers of each, computed in double precision, then rounded.

    The layout is private to the room and the same for every processor. An engine packs once.

    Args:
        weight: `[O, C, 3, 3]`, float32, any strides, on the CPU.
        products: "float32" or "bfloat16".
        lib: replaces the compiled library (planted faults).

    Returns:
        One axis, of the products' type, on a 64-byte boundary; O rounded up to 32, C to 16 or, for bfloat16, to 32.

    Raises:
        ShapeError: another shape, or an empty axis.
        DtypeError: another type.
        BackendError: `weight` is not on the CPU.
        OptionError: unknown `products`.
    """
    check_choice("products", products, PRODUCTS)
    if weight.ndim != 4 or tuple(weight.shape[2:]) != (3, 3) or weight.numel() == 0:
        raise ShapeError(f"weight is {describe(weight)}", "[O, C, 3, 3], nothing empty", "Pass the convolution's own.")
    check_dtype("weight", weight, (torch.float32,))
    if weight.device.type != "cpu":
        raise BackendError(f"weight is on {weight.device}", "the CPU", "Kernels are packed there: pass weight.cpu().")
    outer, inner = weight.shape[:2]
    kind = PRODUCTS[products]
    numbers = _FREQUENCIES * _up(outer, _PANEL) * _up(inner, _LINE // kind.itemsize)
    # A process may have chosen another default type or device.
    packed = torch.empty(numbers, dtype=kind, device="cpu")
    plain = weight.contiguous()
    (lib or library("_C")).conv3x3_pack_cpu(packed.data_ptr(), plain.data_ptr(), outer, inner, DTYPE[kind])
    return packed


def scratch_floats(pixels: tuple[int, int, int], inner: int, outer: int, products: str = "float32") -> int:
    """How large a scratch `conv3x3_cpu` is best given; a smaller one makes it take fewer tiles at a time.

    Args:
        pixels: B, H, W of the map.
        inner, outer: channels.
        products: "float32" or "bfloat16".
    """
    batch, height, width = pixels
    each = _up(inner, _LINE // PRODUCTS[products].itemsize) // (4 // PRODUCTS[products].itemsize) + _up(outer, _PANEL)
    tiles = _up(batch * -(-height // 4) * -(-width // 4), _LONGEST)
    wanted = max(min(tiles * each, _MOST_FLOATS // _FREQUENCIES), _LONGEST * each)
    # Two odd lines between frequencies, and what a strip of another length leaves over.
    return _FREQUENCIES * (wanted + _LONGEST * each + 2 * _WORDS) + _WORDS


def conv3x3_cpu(
    out: Tensor,
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    products: str,
    lib: Any = None,
    packed: Tensor | None = None,
    tiles: Tensor | None = None,
    tile: int = 8,
    scratch: Tensor | None = None,
    own_products: bool = True,
) -> None:
    """Write the result into the contiguous `out`, on the CPU.

    Args:
        out: `[B, H, W, O]`, float32; may be the memory of `residual`, not that of `features`.
        features, weight, bias, scale, shift, residual, relu, products: as for the public function, float32.
        lib: replaces the compiled library (planted faults).
        packed: `pack_conv3x3(weight, products)`; without it the kernels are packed in this call.
        tiles: int32 `[T]`: only these squares are written, with the same bytes as without the list. Their numbers,
            (image * rows + row) * columns + column, are sorted and unique, and H and W are multiples of `tile`.
        tile: pixels along a square, a multiple of 4.
        scratch: float32, at least `scratch_floats(...)` long, to work in; without it, memory of this call's own.
        own_products: whether a processor's own products of bfloat16 may be used; otherwise those of float32 are.

    Raises:
        InputError: `tiles` of another type or layout, or a map that is not made of whole squares.
        DtypeError: `packed` or `scratch` of another type.
    """
    kind = PRODUCTS[products]
    _check_squares(tiles, tile, features)
    packed = _of_kind("packed", pack_conv3x3(weight, products, lib) if packed is None else packed, kind)
    scratch = _of_kind("scratch", _room_for(features, weight, products) if scratch is None else scratch, torch.float32)
    skip = -scratch.data_ptr() % _LINE // 4
    # Named, so that copies live as long as the call.
    features, others = (
        features.contiguous(),
        [x if x is None else x.contiguous() for x in (bias, scale, shift, residual)],
    )
    maps = (out.data_ptr(), features.data_ptr(), *features.shape)
    kernels = (packed.data_ptr(), weight.shape[0], *map(_address, others), int(relu), DTYPE[kind])
    squares = (_address(tiles), -1 if tiles is None else tiles.numel(), tile)
    memory = (scratch.data_ptr() + 4 * skip, scratch.numel() - skip)
    (lib or library("_C")).conv3x3_cpu(*maps, *kernels, *squares, *memory, int(not own_products))


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _room_for(features: Tensor, weight: Tensor, products: str) -> Tensor:
    batch, height, width, inner = features.shape
    floats = scratch_floats((batch, height, width), inner, weight.shape[0], products)
    return torch.empty(floats, dtype=torch.float32, device="cpu")


def _of_kind(name: str, x: Tensor, kind: torch.dtype) -> Tensor:
    if x.dtype != kind:
        raise DtypeError(f"{name} is {describe(x)}", str(kind).removeprefix("torch."))
    return x


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _check_squares(tiles: Tensor | None, tile: int, features: Tensor) -> None:
    if tiles is None:
        return
    if tiles.dtype != torch.int32 or tiles.ndim != 1 or not tiles.is_contiguous():
        raise InputError(f"tiles are {describe(tiles)}", "[T] int32, contiguous")
    if tile % 4 or tile <= 0 or features.shape[1] % tile or features.shape[2] % tile:
        raise InputError(
            f"squares of {tile} on features {describe(features)}", "a multiple of 4 that divides both sides"
        )
