"""upsample_conv in Triton: two kernels and their launch. Versions: 1. one program for each phase and output tile.

Output pixels (2 y + a, 2 x + b) of one phase (a, b) see the input through a 2x2 kernel whose entries are sums of the
3x3 kernel's: 16 multiplications for four outputs instead of 36. The sums are taken in float32 and rounded once, to the
type of the features: it is what tensor cores read. A rounded sum errs by as much as a rounded weight does.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant, interpreting

_FOLD_BLOCK = 512
# By bytes of an element, and whether both numbers of channels are multiples of 16 (loads are then wide): pixels, output
# channels and input channels of one step.
_TILES = {(2, True): (64, 128, 64), (2, False): (64, 32, 32), (4, True): (64, 64, 32), (4, False): (64, 64, 16)}


@triton.jit
def fold_kernel(
    folded_ptr,
    weight_ptr,
    outer,
    inner,
    stride_o,
    stride_c,
    stride_y,
    stride_x,
    BLOCK: tl.constexpr,
    MUTANT: tl.constexpr,
):
    """Sum kernels `[O, C, 3, 3]` to `[phase 2 a + b][tap 2 r + s][C][O]`; row y of a kernel meets tap r = (y > a)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = i // outer
    here = c < inner
    at = weight_ptr + (i % outer).to(tl.int64) * stride_o + c.to(tl.int64) * stride_c
    if MUTANT == 9:
        stride_y, stride_x = stride_x, stride_y
    for phase in tl.static_range(4):
        for tap in tl.static_range(4):
            total = tl.zeros([BLOCK], tl.float32)
            for k in tl.static_range(9):
                row = (k // 3 > phase // 2) == (tap // 2 == 1)
                column = (k % 3 > phase % 2) == (tap % 2 == 1)
                if row and column and not (MUTANT == 3 and k // 3 == 1):
                    tap_at = at + tl.full([1], k // 3, tl.int64) * stride_y + tl.full([1], k % 3, tl.int64) * stride_x
                    total += tl.load(tap_at, mask=here, other=0).to(tl.float32)
            tl.store(folded_ptr + tl.full([1], phase * 4 + tap, tl.int64) * inner * outer + i, total, mask=here)


@triton.jit
def _left(base, y, x, here, h, w, k, inner, stride_h, stride_w, stride_c, MUTANT: tl.constexpr):
    """Features of input pixels (y, x) and channels k; zero outside the picture."""
    if MUTANT == 4:
        y = tl.maximum(y, 0)
    if MUTANT == 5:
        x = tl.where(x == w, 0, x)
    if MUTANT == 7:
        inner -= 1
    seen = here & (y >= 0) & (y < h) & (x >= 0) & (x < w)
    at = base + y.to(tl.int64) * stride_h + x.to(tl.int64) * stride_w
    return tl.load(at[:, None] + k.to(tl.int64)[None, :] * stride_c, mask=seen[:, None] & (k < inner)[None, :], other=0)


@triton.jit
def upsample_conv_kernel(
    out_ptr, features_ptr, folded_ptr, bias_ptr, pixels, h, w, inner, outer,
    stride_n, stride_h, stride_w, stride_c, BIASED: tl.constexpr, WIDE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One phase of BLOCK_M pixels, BLOCK_N output channels; planted faults are numbered as in samples.py."""
    phase = tl.program_id(0) % 4
    m = tl.program_id(0) // 4 * BLOCK_M + tl.arange(0, BLOCK_M)
    o = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    y, x, image = m // w % h, m % w, (m // w // h).to(tl.int64)
    base = features_ptr + (image * 0 if MUTANT == 8 else image) * stride_n
    steps = tl.cdiv(inner, BLOCK_K)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for step in range(4 * steps):
        tap = step // steps
        k = step % steps * BLOCK_K + tl.arange(0, BLOCK_K)
        v, u = y - 1 + phase // 2 + tap // 2, x - 1 + phase % 2 + tap % 2
        left = _left(base, v, u, m < pixels, h, w, k, inner, stride_h, stride_w, stride_c, MUTANT)
        rows = folded_ptr + ((phase * 4 + tap) * inner + k).to(tl.int64)[:, None] * outer
        right = tl.load(rows + o[None, :], mask=(k < inner)[:, None] & (o < outer)[None, :], other=0)
        if WIDE:
            left, right = left.to(tl.float32), right.to(tl.float32)
        total = tl.dot(left, right, total, input_precision="ieee")
    if BIASED and MUTANT != 6:
        total += tl.load(bias_ptr + o, mask=o < outer, other=0).to(tl.float32)[None, :]
    a = 1 - phase // 2 if MUTANT == 1 else phase // 2
    b = 1 - phase % 2 if MUTANT == 2 else phase % 2
    written = (m < pixels)[:, None] & (o < (outer - 1 if MUTANT == 10 else outer))[None, :]
    at = ((image * h + y) * 2 + a) * 2 * w + 2 * x + b
    tl.store(out_ptr + at[:, None] * outer + o[None, :], total, mask=written)
    if MUTANT == 11:
        tl.store(out_ptr + 4 * pixels * outer, 0.0)


def fold_phases(weight: Tensor, mutant: int = 0) -> Tensor:
    """Sum `[O, C, 3, 3]` to the four phases' kernels `[16, C, O]`, of the same type; an engine does it once."""
    outer, inner = weight.shape[:2]
    folded = torch.empty((16, inner, outer), dtype=weight.dtype, device=weight.device)
    blocks = triton.cdiv(inner * outer, _FOLD_BLOCK)
    fold_kernel[(blocks,)](folded, weight, outer, inner, *weight.stride(), BLOCK=_FOLD_BLOCK, MUTANT=mutant)
    return folded


def upsample_conv_triton(
    out: Tensor, features: Tensor, weight: Tensor, bias: Tensor | None, mutant: int = 0, folded: Tensor | None = None
) -> None:
    """Write the result into the contiguous `out`.

    Args:
        out: `[B, 2 H, 2 W, O]`; features: `[B, H, W, C]`; weight: `[O, C, 3, 3]`; bias: `[O]` or None; one type.
        mutant: switches a planted fault on (tests only).
        folded: `fold_phases(weight)`; without it the kernels are summed in this call.
    """
    n, h, w, inner = features.shape
    outer = weight.shape[0]
    if features.numel() == 0:
        return
    tile = _tile(features.dtype, inner, outer)
    grid = (4 * triton.cdiv(n * h * w, tile["BLOCK_M"]), triton.cdiv(outer, tile["BLOCK_N"]))
    upsample_conv_kernel[grid](
        out,
        features,
        fold_phases(weight, mutant) if folded is None else folded,
        features if bias is None else bias.contiguous(),
        n * h * w,
        h,
        w,
        inner,
        outer,
        *features.stride(),
        BIASED=bias is not None,
        WIDE=interpreting(),
        MUTANT=mutant,
        **tile,
    )


def _tile(dtype: torch.dtype, inner: int, outer: int) -> dict[str, int]:
    m, n, k = _TILES[dtype.itemsize, inner % 16 == outer % 16 == 0]
    n, k = min(n, max(16, triton.next_power_of_2(outer))), min(k, max(16, triton.next_power_of_2(inner)))
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "num_warps": 8 if n > 64 else 4}


def variants() -> list[Variant]:
    """The launches of the up blocks of one frame, for compilation ahead of time, and one of odd sizes."""
    first, second, odd = (64, 256, 128), (128, 128, 64), (64, 35, 21)
    half, bfloat = torch.float16, torch.bfloat16
    launches = [(torch.float32, first), (half, first), (bfloat, first), (bfloat, second), (half, odd)]
    numbers = "outer inner stride_o stride_c stride_y stride_x".split()
    signature = {"folded_ptr": "*fp32", "weight_ptr": "*fp32", **dict.fromkeys(numbers, "i32")}
    fold = Variant("float32, sums", fold_kernel, signature, {"BLOCK": _FOLD_BLOCK, "MUTANT": 0})
    return [fold, *(_variant(dtype, *sizes) for dtype, sizes in launches)]


def _variant(dtype: torch.dtype, size: int, inner: int, outer: int) -> Variant:
    # What a launch specialises on (a stride of 1, multiples of 16) is given here as the numbers themselves.
    numbers = {
        "inner": inner,
        "outer": outer,
        "stride_c": 1,
        "stride_w": inner,
        "stride_h": size * inner,
        "stride_n": size**2 * inner,
    }
    kind = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}[dtype]
    pointers = dict.fromkeys("out_ptr features_ptr folded_ptr bias_ptr".split(), kind)
    integers = dict.fromkeys("pixels h w".split(), "i32")
    constants: dict[str, Any] = {**numbers, "BIASED": True, "WIDE": False, "MUTANT": 0, **_tile(dtype, inner, outer)}
    warps = constants.pop("num_warps")
    name = f"{str(dtype).removeprefix('torch.')}, {inner} to {outer} channels"
    return Variant(name, upsample_conv_kernel, {**pointers, **integers}, constants, num_warps=warps)
