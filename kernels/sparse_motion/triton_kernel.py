"""sparse_motion in Triton. Versions: 1. one program per block of pixels and motion, four lanes per pixel."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.triton_build import Variant

PIXELS = 128


@triton.jit
def _axis(i, length, GRID: tl.constexpr):
    at = i.to(tl.float32)
    if GRID == 0:
        value = 2 * tl.div_rn(at, at * 0 + (length - 1)) - 1
    else:
        value = tl.div_rn(2 * at + 1, at * 0 + length) - 1
    return tl.where(length == 1, 0.0, value)


@triton.jit
def _in_frame(coordinate, length, ALIGNED: tl.constexpr, MUTANT: tl.constexpr):
    """Normalised -> pixels; what is outside or not finite comes to rest two pixels outside."""
    if ALIGNED != (MUTANT == 6):
        pixel = coordinate * (0.5 * (length - 1)) + 0.5 * (length - 1)
    else:
        pixel = coordinate * (0.5 * length) + 0.5 * (length - 1)
    if MUTANT == 8:
        pixel = tl.where(pixel - pixel == 0, pixel, 0.0)
    if MUTANT == 9:
        pixel = tl.where(pixel > 0, pixel, 0.0)
        pixel = tl.where(pixel < length - 1, pixel, (length - 1) * 1.0)
    pixel = tl.where(pixel > -2, pixel, -2.0)
    return tl.where(pixel < length, pixel, length * 1.0)


@triton.jit
def _tap(plane, row, column, weight, lanes, h, w, stride_h, stride_w):
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w) & lanes
    value = tl.load(plane + row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w, mask=inside, other=0.0)
    return value * weight


@triton.jit
def _bell(kp, b, m, count, x, y, rate, MUTANT: tl.constexpr):
    swap: tl.constexpr = 1 if MUTANT == 1 else 0
    at = kp + (b * count + m) * 2
    dx, dy = x - tl.load(at + swap), y - tl.load(at + 1 - swap)
    return tl.exp((dx * dx + dy * dy) * rate)


@triton.jit
def _moved(matrix, x, y, moves, MUTANT: tl.constexpr):
    """Where one motion takes the pixels; the background's matrix is the identity, which is nowhere in memory."""
    xx, yy = tl.load(matrix, mask=moves, other=1.0), tl.load(matrix + 4, mask=moves, other=1.0)
    xy, yx = tl.load(matrix + 1, mask=moves, other=0.0), tl.load(matrix + 3, mask=moves, other=0.0)
    x0, y0 = tl.load(matrix + 2, mask=moves, other=0.0), tl.load(matrix + 5, mask=moves, other=0.0)
    if MUTANT == 4:
        xy, yx = yx, xy
    if MUTANT == 5:
        x0, y0 = x0 * 0, y0 * 0
    return xx * x + xy * y + x0, yx * x + yy * y + y0


@triton.jit
def sparse_motion_kernel(
    out_ptr, thumbnail_ptr, target_ptr, driving_ptr, affine_ptr, h, w, count, stride_n, stride_h, stride_w, stride_c,
    rate, GRID: tl.constexpr, ALIGNED: tl.constexpr, PIXELS: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One block of pixels of one motion: heatmap, red, green, blue."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)[:, None]
    lane = tl.arange(0, 4)[None, :]
    m = tl.program_id(1) - 1
    picture = tl.program_id(2).to(tl.int64)
    b = picture * 0 if MUTANT == 11 else picture
    writable = pixel < h * w
    y, x = _axis(pixel // w, h, GRID), _axis(pixel % w, w, GRID)
    moves = m >= 0
    moved_x, moved_y = _moved(affine_ptr + (b * count + m) * 6, x, y, moves, MUTANT)
    at_x = _in_frame(moved_x, w, ALIGNED, MUTANT)
    at_y = _in_frame(moved_y, h, ALIGNED, MUTANT)
    left, top = tl.floor(at_x), tl.floor(at_y)
    right, below = at_x - left, at_y - top
    column, row = left.to(tl.int32), top.to(tl.int32)
    plane = thumbnail_ptr + picture * stride_n + (lane - 1) * stride_c
    lanes = writable & (lane > 0)
    value = _tap(plane, row, column, (1 - right) * (1 - below), lanes, h, w, stride_h, stride_w)
    value += _tap(plane, row, column + 1, right * (1 - below), lanes, h, w, stride_h, stride_w)
    value += _tap(plane, row + 1, column, (1 - right) * below, lanes, h, w, stride_h, stride_w)
    value += _tap(plane, row + 1, column + 1, right * below, lanes, h, w, stride_h, stride_w)
    known = tl.maximum(m, 0)
    heat = _bell(driving_ptr, b, known, count, x, y, rate, MUTANT) - _bell(
        target_ptr, b, known, count, x, y, rate, MUTANT
    )
    if MUTANT != 10:
        heat = tl.where(moves, heat, 0.0)
    value = tl.where(lane == 0, heat, value)
    if MUTANT == 12:
        writable = pixel < h * w - w
    out = out_ptr + ((picture * h * w + pixel) * (count + 1) + m + 1) * 4 + lane
    if MUTANT == 13:
        writable = (pixel < h * w) | ((pixel == h * w) & (lane == 0) & (m == 0))
    tl.store(out, value, mask=writable)


def sparse_motion_triton(
    out: Tensor,
    thumbnail: Tensor,
    kp_target: Tensor,
    kp_driving: Tensor,
    affine: Tensor,
    variance: float,
    pixel_grid: str,
    align_corners: bool,
    mutant: int = 0,
) -> None:
    """Write the hourglass input into `out`; `mutant` switches a planted fault on (tests only)."""
    batch, height, width, _ = thumbnail.shape
    if batch == 0:
        return
    if mutant == 2:
        kp_target, kp_driving = kp_driving, kp_target
    count, rate = kp_target.shape[1], (-1.0 if mutant == 3 else -0.5) / variance
    grid = PIXEL_GRID[pixel_grid] if mutant != 7 else 1 - PIXEL_GRID[pixel_grid]
    sparse_motion_kernel[(triton.cdiv(height * width, PIXELS), count + 1, batch)](
        out, thumbnail, kp_target.contiguous(), kp_driving.contiguous(), affine.contiguous(), height, width, count,
        *thumbnail.stride(), rate, GRID=grid, ALIGNED=bool(align_corners), PIXELS=PIXELS, MUTANT=mutant,
    )  # fmt: skip


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    pointers = dict.fromkeys("out_ptr thumbnail_ptr target_ptr driving_ptr affine_ptr".split(), "*fp32")
    numbers = dict.fromkeys("h w count stride_n stride_h stride_w stride_c".split(), "i32")
    found = []
    for name, grid in PIXEL_GRID.items():
        fixed = {"GRID": grid, "ALIGNED": False, "PIXELS": PIXELS, "MUTANT": 0}
        signature = {**pointers, **numbers, "rate": "fp32"}
        found.append(Variant(name, sparse_motion_kernel, signature, fixed))
    return found
