"""to_image in Triton. Versions: 1. one program per block of output elements."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant

BLOCK = 256


@triton.jit
def to_image_kernel(
    out_ptr, prediction_ptr, count, h, w, c, stride_n, stride_h, stride_w, stride_c,
    FROM_LOGITS: tl.constexpr, BLOCK: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One block of the contiguous output of `count` elements."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    readable = i < count
    writable = readable
    k, x = i % c, (i // c) % w
    y, b = (i // c // w) % h, i // c // w // h
    if MUTANT == 7:
        k = c - 1 - k
    if MUTANT == 8:
        stride_c = 1
    if MUTANT == 9:
        b = b * 0
    if MUTANT == 10:
        writable = i < count - c
    if MUTANT == 11:
        writable = i <= count
    at = prediction_ptr + b * stride_n + y * stride_h + x * stride_w + k * stride_c
    value = tl.load(at, mask=readable, other=0.0).to(tl.float32)
    if MUTANT == 3:
        value = tl.where(value == value, value, 100.0)
    if MUTANT == 6:
        value = value * 0.5 + 0.5
    # Both comparisons are false for NaN, which ends at level 0.
    if FROM_LOGITS != (MUTANT == 5):
        value = tl.where(value > -80, value, -80.0)
        value = tl.div_rn(tl.full((BLOCK,), 1.0, tl.float32), 1 + tl.exp(-value))
    else:
        value = tl.where(value > 0, value, 0.0)
        value = tl.where(value < (8 if MUTANT == 4 else 1), value, 8.0 if MUTANT == 4 else 1.0)
    level = value * (256 if MUTANT == 2 else 255)
    level = tl.floor(level if MUTANT == 1 else level + 0.5)
    tl.store(out_ptr + i, level.to(tl.int32).to(tl.uint8), mask=writable)


def to_image_triton(out: Tensor, prediction: Tensor, from_logits: bool, mutant: int = 0) -> None:
    """Write the pixels into `out`; `mutant` switches a planted fault on (tests only)."""
    x = prediction if prediction.ndim == 4 else prediction[None]
    if x.numel() == 0:
        return
    to_image_kernel[(triton.cdiv(x.numel(), BLOCK),)](
        out, x, x.numel(), *x.shape[1:], *x.stride(), FROM_LOGITS=bool(from_logits), BLOCK=BLOCK, MUTANT=mutant
    )


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    numbers = dict.fromkeys("count h w c stride_n stride_h stride_w stride_c".split(), "i32")
    found = []
    for name, kind in {"float32": "*fp32", "float16": "*fp16", "bfloat16": "*bf16"}.items():
        signature = {"out_ptr": "*u8", "prediction_ptr": kind, **numbers}
        fixed = {"FROM_LOGITS": False, "BLOCK": BLOCK, "MUTANT": 0}
        found.append(Variant(name, to_image_kernel, signature, fixed))
    found.append(Variant("logits, float16", to_image_kernel, {**found[1].signature}, {**fixed, "FROM_LOGITS": True}))
    return found
