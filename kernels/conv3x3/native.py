"""conv3x3 through csrc/: from tensors to addresses, the kernels' transforms, and the memory that a call works in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendError, ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_dtype, check_packed, describe
from eamfmeg_fast.kernels.compiled import DTYPE, library
from eamfmeg_fast.kernels.tiles import check_tiles

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
    # A process may have chosen another default type or device.
    packed = torch.empty(_packed_numbers(weight, kind), dtype=kind, device="cpu")
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
    each = _floats_of_a_tile(inner, outer, products)
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
        scratch: float32, contiguous, to work in: best `scratch_floats(...)` long, at least enough for a strip of 14
            tiles; without it, memory of this call's own.
        own_products: whether a processor's own products of bfloat16 may be used; otherwise those of float32 are.

    Raises:
        ShapeError: squares that do not fit, that are not there or whose side is no multiple of 4; `packed` from another
            weight; a `scratch` that is too small or not contiguous.
        DtypeError: `packed`, `tiles` or `scratch` of another type.
        BackendError: `scratch` is not on the CPU.
    """
    kind = PRODUCTS[products]
    if tiles is not None:
        if tile % 4:
            raise ShapeError(f"squares of {tile}", "a multiple of 4 that divides both sides")
        check_tiles(tiles, tile, tuple(features.shape))
    packed = pack_conv3x3(weight, products, lib) if packed is None else packed
    check_packed(packed, _packed_numbers(weight, kind), kind)
    scratch = _room_for(features, weight, products) if scratch is None else scratch
    _check_scratch(scratch, weight, products)
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


def _packed_numbers(weight: Tensor, kind: torch.dtype) -> int:
    return _FREQUENCIES * _up(weight.shape[0], _PANEL) * _up(weight.shape[1], _LINE // kind.itemsize)


def _floats_of_a_tile(inner: int, outer: int, products: str) -> int:
    """Of one frequency: what the tile sees, and its products."""
    size = PRODUCTS[products].itemsize
    return _up(inner, _LINE // size) // (4 // size) + _up(outer, _PANEL)


def _check_scratch(scratch: Tensor, weight: Tensor, products: str) -> None:
    check_dtype("scratch", scratch, (torch.float32,))
    if scratch.device.type != "cpu":
        raise BackendError(f"scratch is on {scratch.device}", "the CPU")
    # The longest strip of any processor, two odd lines, and what precedes the first boundary of 64 bytes.
    each = _floats_of_a_tile(weight.shape[1], weight.shape[0], products)
    least = _FREQUENCIES * (_LONGEST * each + 2 * _WORDS) + _WORDS
    if not scratch.is_contiguous() or scratch.numel() < least:
        raise ShapeError(f"scratch is {describe(scratch)}", f"contiguous, at least {least} floats")


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
