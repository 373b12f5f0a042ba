"""dense_motion in Triton. Versions: 1. a program for 32 pixels of one picture, the motions side by side."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.triton_build import Variant

_WARPS = 1


@triton.jit
def _axis(i, length, CENTRES: tl.constexpr, MUTANT: tl.constexpr):
    """The normalised coordinates of the pixels `i`, to the last bit; one pixel alone is 0."""
    at, size = i.to(tl.float32), length.to(tl.float32)
    if CENTRES != (MUTANT == 6):
        inner = tl.div_rn(2.0 * at + 1.0, size) - 1.0
    else:
        inner = 2.0 * tl.div_rn(at, tl.maximum(size - 1.0, 1.0)) - 1.0
    return tl.where(length == 1, 0.0, inner)


@triton.jit
def _softmax(logits, k, MUTANT: tl.constexpr):
    """Over the motions `k` of each pixel."""
    if MUTANT != 1:
        logits = logits - tl.max(logits, axis=1)[:, None]
    share = tl.exp(logits)
    counted = share
    if MUTANT == 2:
        counted = tl.where((k > 0)[None, :], share, 0.0)
    return share / tl.sum(counted, axis=1)[:, None]


@triton.jit
def _turned(share, affine_ptr, k, moving, entry, ONE: tl.constexpr, MUTANT: tl.constexpr):
    """The masks' sum over one entry of A - I or b, for each pixel."""
    is_moving = (k > 0) & (k <= moving)
    which = k - 1
    if MUTANT == 7:
        is_moving = k <= moving
        which = tl.where(k < moving, k, 0)
    if MUTANT == 8:
        is_moving = is_moving & (k != moving)
    value = tl.load(affine_ptr + which * 6 + entry, mask=is_moving, other=ONE)
    if MUTANT != 3:
        value = value - ONE
    return tl.sum(share * value[None, :], axis=1)


@triton.jit
def _flow(share, affine_ptr, k, moving, x, y, MUTANT: tl.constexpr):
    """What is to be added to the pixel's own coordinate."""
    down: tl.constexpr = 1 if MUTANT == 4 else 3
    right: tl.constexpr = 3 if MUTANT == 4 else 1
    move_x = _turned(share, affine_ptr, k, moving, 0, 1.0, MUTANT) * x
    move_x += _turned(share, affine_ptr, k, moving, right, 0.0, MUTANT) * y
    move_y = _turned(share, affine_ptr, k, moving, down, 0.0, MUTANT) * x
    move_y += _turned(share, affine_ptr, k, moving, 4, 1.0, MUTANT) * y
    if MUTANT != 12:
        move_x += _turned(share, affine_ptr, k, moving, 2, 0.0, MUTANT)
        move_y += _turned(share, affine_ptr, k, moving, 5, 0.0, MUTANT)
    return move_x, move_y


@triton.jit
def dense_motion_kernel(
    mask_ptr, flow_ptr, occlusion_ptr, logits_ptr, hidden_ptr, affine_ptr, pictures, height, width, motions,
    logits_n, logits_h, logits_w, logits_c, hidden_n, hidden_h, hidden_w,
    MASKED: tl.constexpr, CENTRES: tl.constexpr, PIXELS: tl.constexpr, MOTIONS: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """PIXELS pixels of picture `program_id(1)`; planted faults are numbered as in samples.py."""
    b = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    k = tl.arange(0, MOTIONS)
    pixels = height * width
    alive = pixel < pixels
    row, column = pixel // width, pixel % width
    known = alive[:, None] & (k < motions)[None, :]
    across = logits_w
    if MUTANT == 10:
        across = motions
    at = b * logits_n + row.to(tl.int64) * logits_h + column.to(tl.int64) * across
    logits = tl.load(logits_ptr + at[:, None] + k.to(tl.int64)[None, :] * logits_c, mask=known, other=float("-inf"))
    share = _softmax(tl.where(alive[:, None], logits, 0.0), k, MUTANT)
    x, y = _axis(column, width, CENTRES, MUTANT), _axis(row, height, CENTRES, MUTANT)
    if MUTANT == 5:
        x, y = y, x
    moving = motions - 1
    batch = b if MUTANT != 9 else b * 0
    move_x, move_y = _flow(share, affine_ptr + batch * moving * 6, k, moving, x, y, MUTANT)
    hidden_at = b * hidden_n + row.to(tl.int64) * hidden_h + column.to(tl.int64) * hidden_w
    hidden = tl.load(hidden_ptr + hidden_at, mask=alive, other=0.0)
    if MUTANT == 11:
        hidden = -hidden
    if MUTANT == 13:
        alive = alive & ((pixel < pixels - 1) | (b < pictures - 1))
    out = b * pixels + pixel
    tl.store(occlusion_ptr + out, 1.0 / (1.0 + tl.exp(-hidden)), mask=alive)
    if MASKED:
        tl.store(mask_ptr + out[:, None] * motions + k[None, :], share, mask=alive[:, None] & (k < motions)[None, :])
    if MUTANT == 14:
        alive = alive | ((b == pictures - 1) & (pixel == pixels))
    tl.store(flow_ptr + out * 2, x + move_x, mask=alive)
    tl.store(flow_ptr + out * 2 + 1, y + move_y, mask=alive)


def tile(motions: int) -> dict[str, int]:
    """Pixels and motions of one program: 4096 pixels with 10 motions make 128 programs, one for each multiprocessor."""
    width = triton.next_power_of_2(motions)
    return {"PIXELS": max(4, min(32, 512 // width)), "MOTIONS": width}


def dense_motion_triton(
    out: tuple[Tensor | None, Tensor, Tensor],
    mask_logits: Tensor,
    occlusion_logits: Tensor,
    affine: Tensor,
    pixel_grid: str,
    mutant: int = 0,
) -> None:
    """Write into the contiguous `out`, whose mask may be None; `mutant` switches a planted fault on (tests only)."""
    mask, flow, occlusion = out
    batch, height, width, motions = mask_logits.shape
    if occlusion.numel() == 0:
        return
    # The planted fault "one flow beyond the end" needs a program there.
    sizes = tile(motions)
    blocks = triton.cdiv(height * width + (mutant == 14), sizes["PIXELS"])
    dense_motion_kernel[(blocks, batch)](
        flow if mask is None else mask, flow, occlusion, mask_logits, occlusion_logits, affine.contiguous(), batch,
        height, width, motions, *mask_logits.stride(), *occlusion_logits.stride(), MASKED=mask is not None,
        CENTRES=PIXEL_GRID[pixel_grid] == 1, **sizes, MUTANT=mutant,
        num_warps=_WARPS,
    )  # fmt: skip


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    names = dense_motion_kernel.arg_names
    signature = {name: "*fp32" for name in names if name.endswith("_ptr")}
    signature |= {name: "i32" for name in names if name.islower() and not name.endswith("_ptr")}
    fixed = {"CENTRES": True, **tile(11), "MUTANT": 0}
    return [
        Variant(
            f"10 motions, {'with' if masked else 'without'} mask",
            dense_motion_kernel,
            signature,
            {"MASKED": masked, **fixed},
            _WARPS,
        )
        for masked in (False, True)
    ]
