"""What follows a convolution, in Triton: bias, residual, ReLU, the next norm, 2x2 means; one pass each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant

_BLOCK, _WARPS = 1024, 4
_MOST_SHORT = 1 << 30
_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@triton.jit
def _positive(value):
    """ReLU that lets a NaN through."""
    return tl.where(value < 0, 0.0, value)


@triton.jit
def _tell(flag_ptr, value, here, limit):
    """Raise the flag where a number is not within what the stored type holds; NaN is not."""
    lost = here & ((tl.abs(value) <= limit) == 0)
    if tl.max(lost.to(tl.int32), axis=0) > 0:
        tl.atomic_max(flag_ptr, 1)


@triton.jit
def settle_kernel(
    x_ptr, bias_ptr, add_ptr, scale_ptr, shift_ptr, out_ptr, hidden_ptr, flag_ptr, total, channels, out_stride, limit,
    BIASED: tl.constexpr, ADDED: tl.constexpr, RELU: tl.constexpr, STORED: tl.constexpr, NORMED: tl.constexpr,
    FLAGGED: tl.constexpr, LONG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`out = relu?(x + bias + add)` and `hidden = relu(out * scale + shift)`, BLOCK numbers of channels-last maps."""
    block = tl.program_id(0)
    if LONG:
        block = block.to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    here = i < total
    c = i % channels
    value = tl.load(x_ptr + i, mask=here, other=0).to(tl.float32)
    if BIASED:
        value += tl.load(bias_ptr + c, mask=here, other=0)
    if ADDED:
        value += tl.load(add_ptr + i, mask=here, other=0).to(tl.float32)
    if FLAGGED:
        _tell(flag_ptr, value, here, limit)
    if RELU:
        value = _positive(value)
    if STORED:
        tl.store(out_ptr + i // channels * out_stride + c, value, mask=here)
    if NORMED:
        scale = tl.load(scale_ptr + c, mask=here, other=0)
        hidden = value * scale + tl.load(shift_ptr + c, mask=here, other=0)
        if FLAGGED:
            _tell(flag_ptr, hidden, here, limit)
        tl.store(hidden_ptr + i, _positive(hidden), mask=here)


@triton.jit
def pool_kernel(
    x_ptr, bias_ptr, out_ptr, total, channels, width, LONG: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Means over 2x2 of `relu(x + bias)`; `width` of the smaller map."""
    block = tl.program_id(0)
    if LONG:
        block = block.to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    here = i < total
    c, pixel = i % channels, i // channels
    # Row 2 r of the larger map has 2 width pixels, and r counts through all pictures.
    at = (pixel // width * 4 * width + pixel % width * 2) * channels + c
    bias = tl.load(bias_ptr + c, mask=here, other=0)
    row = 2 * width * channels
    mean = _positive(tl.load(x_ptr + at, mask=here, other=0) + bias)
    mean += _positive(tl.load(x_ptr + at + channels, mask=here, other=0) + bias)
    mean += _positive(tl.load(x_ptr + at + row, mask=here, other=0) + bias)
    mean += _positive(tl.load(x_ptr + at + row + channels, mask=here, other=0) + bias)
    tl.store(out_ptr + i, mean * 0.25, mask=here)


def settle_triton(
    x: Tensor,
    bias: Tensor | None,
    add: Tensor | None,
    norm: tuple[Tensor, Tensor] | None,
    out: Tensor | None,
    hidden: Tensor | None,
    flag: Tensor | None,
    relu: bool,
) -> None:
    """Write `out` and `hidden`; see `pointwise.settle`. `out` may be the first channels of a wider map."""
    total = x.numel()
    scale, shift = (x, x) if norm is None else norm
    settle_kernel[(triton.cdiv(total, _BLOCK),)](
        x,
        x if bias is None else bias,
        x if add is None else add,
        scale,
        shift,
        x if out is None else out,
        x if hidden is None else hidden,
        x if flag is None else flag,
        total,
        x.shape[3],
        x.shape[3] if out is None else out.stride(2),
        torch.finfo(x.dtype).max,
        BIASED=bias is not None,
        ADDED=add is not None,
        RELU=relu,
        STORED=out is not None,
        NORMED=norm is not None,
        FLAGGED=flag is not None,
        LONG=total > _MOST_SHORT,
        BLOCK=_BLOCK,
        num_warps=_WARPS,
    )


def pool_triton(out: Tensor, x: Tensor, bias: Tensor) -> None:
    """Write means over 2x2 of `relu(x + bias)`, float32, into the contiguous `out`."""
    total = out.numel()
    grid = (triton.cdiv(total, _BLOCK),)
    long = x.numel() > _MOST_SHORT
    pool_kernel[grid](out_ptr=out, x_ptr=x, bias_ptr=bias, total=total, channels=out.shape[3], width=out.shape[2],
                      LONG=long, BLOCK=_BLOCK, num_warps=_WARPS)  # fmt: skip


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    floats = dict.fromkeys("bias_ptr scale_ptr shift_ptr".split(), "*fp32")
    integers = dict.fromkeys("total channels out_stride".split(), "i32")
    found = []
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        kind = f"*{_NAMES[dtype]}"
        maps = dict.fromkeys("x_ptr add_ptr out_ptr hidden_ptr".split(), kind)
        signature = {**maps, **floats, **integers, "flag_ptr": "*i32", "limit": "fp32"}
        for residual in (False, True):
            given = {"BIASED": True, "ADDED": residual, "RELU": not residual, "STORED": True, "NORMED": residual}
            constants = {**given, "FLAGGED": dtype != torch.float32, "LONG": False, "BLOCK": _BLOCK}
            name = f"{_NAMES[dtype]}, {'residual' if residual else 'ReLU'}"
            found.append(Variant(name, settle_kernel, signature, constants, num_warps=_WARPS))
    pool = {
        **dict.fromkeys("x_ptr bias_ptr out_ptr".split(), "*fp32"),
        **dict.fromkeys("total channels width".split(), "i32"),
    }
    return [*found, Variant("fp32, means", pool_kernel, pool, {"LONG": False, "BLOCK": _BLOCK}, num_warps=_WARPS)]
