"""identity in Triton: the kernel and its launch. Versions: 1. one program per 1024 output elements."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant

BLOCK = 1024


@triton.jit
def identity_kernel(
    out_ptr, x_ptr, count, n, h, w, c, stride_n, stride_h, stride_w, stride_c, BLOCK: tl.constexpr, MUTANT: tl.constexpr
):
    """Copy one block of a strided NHWC array of `count` elements; planted faults are numbered as in samples.py."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    k = i % c
    x = (i // c) % w
    y = (i // c // w) % h
    b = i // c // w // h
    readable = i < count
    writable = readable
    if MUTANT == 1:
        writable = readable & ((b != n - 1) | (y != h - 1))
    if MUTANT == 2:
        x = (x + 1) % w
    if MUTANT == 3:
        stride_h, stride_w = stride_w, stride_h
    if MUTANT == 4:
        writable = readable & (k != c - 1)
    if MUTANT == 5:
        b = b * 0
    if MUTANT == 6:
        stride_c = 1
    if MUTANT == 7:
        y = h - 1 - y
    if MUTANT == 8:
        writable = i <= count
    value = tl.load(x_ptr + b * stride_n + y * stride_h + x * stride_w + k * stride_c, mask=readable)
    tl.store(out_ptr + i, value, mask=writable)


def identity_triton(out: Tensor, x: Tensor, mutant: int = 0) -> None:
    """Copy `x` into the contiguous `out`; `mutant` switches a planted fault on (tests only)."""
    x = x if x.ndim == 4 else x[None]
    if x.numel() == 0:
        return
    blocks = triton.cdiv(x.numel(), BLOCK)
    identity_kernel[(blocks,)](out, x, x.numel(), *x.shape, *x.stride(), BLOCK=BLOCK, MUTANT=mutant)


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    numbers = "n h w c stride_n stride_h stride_w stride_c".split()
    signature = {"out_ptr": "*fp16", "x_ptr": "*fp16", "count": "i64", **dict.fromkeys(numbers, "i32")}
    return [Variant("float16", identity_kernel, signature, {"BLOCK": BLOCK, "MUTANT": 0})]
