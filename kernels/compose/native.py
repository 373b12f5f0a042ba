"""compose through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID, library
from eamfmeg_fast.kernels.tiles import check_tiles


def compose_cpu(
    out: Tensor,
    logits: Tensor,
    picture: Tensor | None,
    grain: Tensor | None,
    flow: Tensor,
    occlusion: Tensor,
    pixel_grid: str,
    align_corners: bool,
    lib: Any = None,
    tiles: Tensor | None = None,
    tile: int = 32,
) -> None:
    """Write the pixels into the contiguous `out`, on the CPU.

    Args:
        out: `[B, H, W, 3]` uint8; the others as in `compose`, float32; what is not contiguous is copied first.
        lib: replaces the compiled library (planted faults).
        tiles: int32 `[T]`, sorted, unique: only these squares are written, the same bytes as without it. A square has
            the number (image * rows + row) * columns + column.
        tile: pixels of a square's side; H and W are multiples of it.

    Raises:
        ShapeError: squares that do not fit, or that are not there.
        DtypeError: `tiles` of another type.
    """
    if tiles is not None:
        check_tiles(tiles, tile, tuple(logits.shape))
    logits, flow, occlusion = logits.contiguous(), flow.contiguous(), occlusion.contiguous()
    picture = None if picture is None else picture.contiguous()
    grain = None if grain is None else grain.contiguous()
    (lib or library("_C")).compose_cpu(
        out.data_ptr(),
        logits.data_ptr(),
        0 if picture is None else picture.data_ptr(),
        0 if grain is None else grain.data_ptr(),
        *logits.shape[:3],
        flow.data_ptr(),
        occlusion.data_ptr(),
        *flow.shape[1:3],
        PIXEL_GRID[pixel_grid],
        int(align_corners),
        0 if tiles is None else tiles.data_ptr(),
        -1 if tiles is None else tiles.numel(),
        tile,
    )
