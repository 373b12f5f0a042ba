"""soft_argmax in Triton. Versions: 1. partial sums of chunks of pixels, then one program that puts them together.

Sums are kept in float64: they are few, and on a flat map the answer is a small difference of large sums.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.soft_argmax.native import inverse_in_two, side_by_side
from eamfmeg_fast.kernels.triton_build import Variant

PIXELS = 64
KEYPOINTS = 16
CHUNKS = 16
ROWS = 8
LOWEST = tl.constexpr(-3.4028234663852886e38)


@triton.jit
def partial_kernel(
    sums_ptr, logits_ptr, maps_ptr, h, w, count, logits_n, logits_h, logits_w, maps_n, maps_h, maps_w,
    inverse, inverse_rest, PIXELS: tl.constexpr, KEYPOINTS: tl.constexpr, ROWS: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One chunk's maximum and sums, `[ROWS, KEYPOINTS]` doubles: maximum, weight, column, row, Jacobian."""
    b = tl.program_id(2).to(tl.int64)
    k = tl.program_id(1) * KEYPOINTS + tl.arange(0, KEYPOINTS)[None, :]
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)[:, None]
    y = (pixel // w).to(tl.int64)
    x = (pixel % w).to(tl.int64)
    inside = (pixel < h * w) & (k < count)
    program = (b * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    if MUTANT == 7:
        inside = (pixel < h * w - 1) & (k < count)
    if MUTANT == 8:
        b = b * 0
    if MUTANT == 10:
        logits_w = count
        logits_h = w * count
    logits = tl.load(logits_ptr + b * logits_n + y * logits_h + x * logits_w + k, mask=inside, other=float("-inf"))
    # Not minus infinity: a chunk of nothing but that would subtract it from itself. NaN shows in the sums.
    top = tl.maximum(tl.max(tl.where(logits == logits, logits, LOWEST), axis=0), LOWEST)
    if MUTANT == 1:
        top = top * 0
    if MUTANT == 2:
        inverse, inverse_rest = 1 / inverse, 0.0
    below = logits - top[None, :]
    below = tl.where(below < LOWEST, LOWEST, below)
    weight = tl.where(inside, tl.exp(below * inverse + below * inverse_rest), 0.0).to(tl.float64)
    lane = tl.arange(0, KEYPOINTS)
    out = sums_ptr + program * ROWS * KEYPOINTS + lane
    tl.store(out, top.to(tl.float64))
    tl.store(out + KEYPOINTS, tl.sum(weight, axis=0))
    tl.store(out + 2 * KEYPOINTS, tl.sum(weight * (x - 0.5 * (w - 1)), axis=0))
    tl.store(out + 3 * KEYPOINTS, tl.sum(weight * (y - 0.5 * (h - 1)), axis=0))
    maps = maps_ptr + b * maps_n + y * maps_h + x * maps_w + 4 * k
    for e in tl.static_range(4):
        entry = tl.load(maps + e, mask=inside, other=0.0).to(tl.float64)
        tl.store(out + (4 + e) * KEYPOINTS, tl.sum(weight * entry, axis=0))


@triton.jit
def _merge(
    base, chunks, inverse, inverse_rest,
    CHUNKS: tl.constexpr, KEYPOINTS: tl.constexpr, ROWS: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """The chunks' sums relative to the largest maximum, `[ROWS, KEYPOINTS]`; row 0 means nothing."""
    lane, rows = tl.arange(0, KEYPOINTS), tl.arange(0, ROWS)
    top = tl.full((KEYPOINTS,), LOWEST, tl.float64)
    sums = tl.zeros((ROWS, KEYPOINTS), tl.float64)
    for first in range(0, chunks, CHUNKS):
        chunk = first + tl.arange(0, CHUNKS)
        here = (chunk < chunks)[:, None]
        tops = tl.load(base + chunk[:, None] * ROWS * KEYPOINTS + lane[None, :], mask=here, other=LOWEST)
        new = tl.maximum(top, tl.max(tops, axis=0))
        below, before = tops - new[None, :], top - new
        factor = tl.exp((below * inverse + below * inverse_rest).to(tl.float32)).to(tl.float64)
        older = tl.exp((before * inverse + before * inverse_rest).to(tl.float32)).to(tl.float64)
        if MUTANT == 6:
            factor = factor * 0 + 1
            older = older * 0 + 1
        at = base + (chunk[:, None, None] * ROWS + rows[None, :, None]) * KEYPOINTS + lane[None, None, :]
        part = tl.load(at, mask=here[:, :, None], other=0.0)
        sums = sums * older[None, :] + tl.sum(part * factor[:, None, :], axis=0)
        top = new
    return sums


@triton.jit
def combine_kernel(
    kp_ptr, jacobian_ptr, sums_ptr, chunks, count, scale_x, scale_y, inverse, inverse_rest,
    CHUNKS: tl.constexpr, KEYPOINTS: tl.constexpr, ROWS: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """Put the chunks of `KEYPOINTS` keypoints of one picture together, in order."""
    b = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * KEYPOINTS + tl.arange(0, KEYPOINTS)
    rows = tl.arange(0, ROWS)
    base = sums_ptr + (b * tl.num_programs(0) + tl.program_id(0)) * chunks * ROWS * KEYPOINTS
    sums = _merge(base, chunks, inverse, inverse_rest, CHUNKS, KEYPOINTS, ROWS, MUTANT)
    weight = tl.sum(tl.where(rows[:, None] == 1, sums, 0.0), axis=0)
    column = tl.sum(tl.where(rows[:, None] == 2, sums, 0.0), axis=0)
    row = tl.sum(tl.where(rows[:, None] == 3, sums, 0.0), axis=0)
    writable = k < count
    if MUTANT == 11:
        writable = k <= count
    x: tl.constexpr = 1 if MUTANT == 3 else 0
    kp = kp_ptr + (b * count + k) * 2
    tl.store(kp + x, (column / weight * scale_x).to(tl.float32), mask=writable)
    tl.store(kp + 1 - x, (row / weight * scale_y).to(tl.float32), mask=writable)
    entry = rows[:, None] - 4
    if MUTANT == 5:
        entry = (entry % 2) * 2 + entry // 2
    divisor = weight
    if MUTANT == 9:
        divisor = weight * 0 + 1
    jacobian = jacobian_ptr + (b * count + k[None, :]) * 4 + entry
    tl.store(jacobian, (sums / divisor[None, :]).to(tl.float32), mask=(rows[:, None] >= 4) & (k < count)[None, :])


def soft_argmax_triton(
    out: tuple[Tensor, Tensor],
    logits: Tensor,
    jacobian_map: Tensor,
    temperature: float,
    pixel_grid: str,
    mutant: int = 0,
) -> None:
    """Write keypoints and Jacobians into `out`; `mutant` switches a planted fault on (tests only)."""
    logits, maps = side_by_side(logits, jacobian_map)
    batch, height, width, count = logits.shape
    if batch == 0 or count == 0:
        return
    chunks, blocks = triton.cdiv(height * width, PIXELS), triton.cdiv(count, KEYPOINTS)
    sums = torch.empty(batch, blocks, chunks, ROWS, KEYPOINTS, dtype=torch.float64, device=logits.device)
    inverse = inverse_in_two(temperature)
    strides = (*logits.stride()[:3], *maps.stride()[:3])
    partial_kernel[(chunks, blocks, batch)](
        sums, logits, maps, height, width, count, *strides, *inverse,
        PIXELS=PIXELS, KEYPOINTS=KEYPOINTS, ROWS=ROWS, MUTANT=mutant,
    )  # fmt: skip
    grid = PIXEL_GRID[pixel_grid] if mutant != 4 else 1 - PIXEL_GRID[pixel_grid]
    scales = [0.0 if length == 1 else 2 / (length - 1 + grid) for length in (width, height)]
    combine_kernel[(blocks, batch)](
        *out, sums, chunks, count, *scales, *inverse, CHUNKS=CHUNKS, KEYPOINTS=KEYPOINTS, ROWS=ROWS, MUTANT=mutant
    )


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    numbers = dict.fromkeys("h w count logits_n logits_h logits_w maps_n maps_h maps_w".split(), "i32")
    rates = {"inverse": "fp32", "inverse_rest": "fp32"}
    sums = {"sums_ptr": "*fp64"}
    shape = {"KEYPOINTS": KEYPOINTS, "ROWS": ROWS, "MUTANT": 0}
    partial = {**sums, "logits_ptr": "*fp32", "maps_ptr": "*fp32", **numbers, **rates}
    places = {"kp_ptr": "*fp32", "jacobian_ptr": "*fp32", **sums, "chunks": "i32", "count": "i32"}
    combine = {**places, "scale_x": "fp32", "scale_y": "fp32", **rates}
    return [
        Variant("partial sums", partial_kernel, partial, {"PIXELS": PIXELS, **shape}),
        Variant("combination", combine_kernel, combine, {"CHUNKS": CHUNKS, **shape}),
    ]
