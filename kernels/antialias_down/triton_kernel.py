"""antialias_down in Triton. Versions: 1. one program per block of output elements, all taps in turn."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant

BLOCK = 64


@triton.jit
def antialias_down_kernel(
    out_ptr, picture_ptr, kernel_ptr, count, h, w, c, out_h, out_w, stride_n, stride_h, stride_w, stride_c,
    stride, before, SIZE: tl.constexpr, BYTES: tl.constexpr, BLOCK: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One block of the contiguous output of `count` elements; `before` is where the taps begin."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    writable = i < count
    k = i % c
    x = (i // c) % out_w * stride - before
    y = (i // c // out_w) % out_h * stride - before
    b = i // c // out_w // out_h
    if MUTANT == 8:
        b = b * 0
    if MUTANT == 9:
        k = c - 1 - k
    plane = picture_ptr + b * stride_n + k * stride_c
    total = tl.zeros((BLOCK,), tl.float32)
    for tap_y in range(SIZE):
        for tap_x in range(SIZE - 1 if MUTANT == 7 else SIZE):
            row, column = y + tap_y, x + tap_x
            if MUTANT == 6:
                row = tl.minimum(tl.maximum(row, 0), h - 1)
                column = tl.minimum(tl.maximum(column, 0), w - 1)
            inside = writable & (row >= 0) & (row < h) & (column >= 0) & (column < w)
            value = tl.load(plane + row * stride_h + column * stride_w, mask=inside, other=0).to(tl.float32)
            place = tap_y * SIZE + tap_x
            if MUTANT == 4:
                place = tap_x * SIZE + tap_y
            if MUTANT == 5:
                place = SIZE * SIZE - 1 - place
            total += tl.load(kernel_ptr + place) * value
    if BYTES != (MUTANT == 3):
        total = tl.div_rn(total, tl.full((BLOCK,), 255.0, tl.float32))
    if MUTANT == 10:
        writable = writable & (i < count - out_w * c)
    if MUTANT == 11:
        writable = i <= count
    tl.store(out_ptr + i, total, mask=writable)


def antialias_down_triton(out: Tensor, picture: Tensor, kernel: Tensor, stride: int, mutant: int = 0) -> None:
    """Write the thumbnail into `out`; `mutant` switches a planted fault on (tests only)."""
    if out.numel() == 0:
        return
    size, kernel = kernel.shape[0], kernel.contiguous()
    odd = size % 2 == 1 or mutant == 2
    before = (size // 2 if odd else (size - stride) // 2) - (mutant == 1)
    antialias_down_kernel[(triton.cdiv(out.numel(), BLOCK),)](
        out, picture, kernel, out.numel(), *picture.shape[1:], *out.shape[1:3], *picture.stride(), stride, before,
        SIZE=size, BYTES=picture.element_size() == 1, BLOCK=BLOCK, MUTANT=mutant, num_warps=2,
    )  # fmt: skip


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    numbers = "count h w c out_h out_w stride_n stride_h stride_w stride_c stride before".split()
    found = []
    for name, kind in {"uint8": "*u8", "float32": "*fp32", "float16": "*fp16", "bfloat16": "*bf16"}.items():
        pointers = {"out_ptr": "*fp32", "picture_ptr": kind, "kernel_ptr": "*fp32"}
        signature = {**pointers, **dict.fromkeys(numbers, "i32")}
        fixed = {"SIZE": 14, "BYTES": name == "uint8", "BLOCK": BLOCK, "MUTANT": 0}
        found.append(Variant(name, antialias_down_kernel, signature, fixed, num_warps=2))
    return found
