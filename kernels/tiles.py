"""Lists of squares: which parts of a map a kernel writes when little has changed."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.checks import describe


def check_tiles(tiles: Tensor, tile: int, shape: tuple[int, ...]) -> None:
    """Hold a list of squares to a map of `shape` `[B, H, W, ...]`.

    Args:
        tiles: int32 `[T]`, contiguous, sorted, unique: (image * rows + row) * columns + column of each square.
        tile: pixels of a square's side.

    Raises:
        DtypeError: another type.
        ShapeError: not one axis, squares that do not fill the map, one that is not on it, or an unsorted list.
    """
    if tiles.dtype != torch.int32:
        raise DtypeError(f"tiles is {describe(tiles)}", "int32", "Convert it with .to(...).")
    batch, height, width = shape[:3]
    if tiles.ndim != 1 or not tiles.is_contiguous() or tile < 1 or height % tile or width % tile:
        given = f"tiles is {describe(tiles)} of squares of {tile} on {height} x {width}"
        raise ShapeError(given, "one axis, side by side, and squares that fill the map")
    last = batch * (height // tile) * (width // tile) - 1
    if not bool((tiles[1:] > tiles[:-1]).all()):
        raise ShapeError(f"tiles is {describe(tiles)}, unsorted or not unique", "each number above the one before it")
    if tiles.numel() and not 0 <= int(tiles[0]) <= int(tiles[-1]) <= last:
        raise ShapeError(f"tiles go from {int(tiles[0])} to {int(tiles[-1])}", f"0 to {last}")
