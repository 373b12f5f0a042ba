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


@triton.jit
def _quotient(a, b, c, d, p, q, r, s):
    """`[[a, b], [c, d]] @ inverse([[p, q], [r, s]])`, the identity to the last bit where the two are equal."""
    det = p * s - q * r
    first = tl.div_rn(a * s - b * r, det), tl.div_rn(b * p - a * q, det)
    return first[0], first[1], tl.div_rn(c * s - d * r, det), tl.div_rn(d * p - c * q, det)


@triton.jit
def _pair(ptr, k, here):
    return tl.load(ptr + 2 * k, mask=here, other=0.0), tl.load(ptr + 2 * k + 1, mask=here, other=0.0)


@triton.jit
def _matrix(ptr, k, here):
    # What is not there is the identity: no division by zero.
    a, d = tl.load(ptr + 4 * k, mask=here, other=1.0), tl.load(ptr + 4 * k + 3, mask=here, other=1.0)
    b, c = tl.load(ptr + 4 * k + 1, mask=here, other=0.0), tl.load(ptr + 4 * k + 2, mask=here, other=0.0)
    return a, b, c, d


@triton.jit
def motion_kernel(
    target_ptr, target_jacobian_ptr, initial_ptr, initial_jacobian_ptr, driving_ptr, driving_jacobian_ptr, factor_ptr,
    affine_ptr, moved_ptr, moved_jacobian_ptr, count, target_step, initial_step, driving_step, factor_step,
    RELATIVE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keypoints moved and the affine maps back to the target's, of one picture; steps are in keypoints."""
    n = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    here = k < count
    of_target, of_driving, own = n * target_step + k, n * driving_step + k, n * count + k
    target_x, target_y = _pair(target_ptr, of_target, here)
    ta, tb, tc, td = _matrix(target_jacobian_ptr, of_target, here)
    x, y = _pair(driving_ptr, of_driving, here)
    a, b, c, d = _matrix(driving_jacobian_ptr, of_driving, here)
    if RELATIVE:
        of_initial = n * initial_step + k
        first_x, first_y = _pair(initial_ptr, of_initial, here)
        fa, fb, fc, fd = _matrix(initial_jacobian_ptr, of_initial, here)
        factor = tl.load(factor_ptr + n * factor_step)
        x, y = target_x + factor * (x - first_x), target_y + factor * (y - first_y)
        ra, rb, rc, rd = _quotient(a, b, c, d, fa, fb, fc, fd)
        a, b, c, d = ra * ta + rb * tc, ra * tb + rb * td, rc * ta + rd * tc, rc * tb + rd * td
    ma, mb, mc, md = _quotient(ta, tb, tc, td, a, b, c, d)
    tl.store(moved_ptr + 2 * own, x, mask=here)
    tl.store(moved_ptr + 2 * own + 1, y, mask=here)
    tl.store(moved_jacobian_ptr + 4 * own, a, mask=here)
    tl.store(moved_jacobian_ptr + 4 * own + 1, b, mask=here)
    tl.store(moved_jacobian_ptr + 4 * own + 2, c, mask=here)
    tl.store(moved_jacobian_ptr + 4 * own + 3, d, mask=here)
    tl.store(affine_ptr + 6 * own, ma, mask=here)
    tl.store(affine_ptr + 6 * own + 1, mb, mask=here)
    tl.store(affine_ptr + 6 * own + 2, target_x - (ma * x + mb * y), mask=here)
    tl.store(affine_ptr + 6 * own + 3, mc, mask=here)
    tl.store(affine_ptr + 6 * own + 4, md, mask=here)
    tl.store(affine_ptr + 6 * own + 5, target_y - (mc * x + md * y), mask=here)


def motion_triton(
    target: tuple[Tensor, Tensor],
    initial: tuple[Tensor, Tensor] | None,
    driving: tuple[Tensor, Tensor],
    factor: Tensor,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Write affine maps, moved keypoints and moved Jacobians; see `relative.moved_by`."""
    batch, count = out[1].shape[:2]

    def step(x: Tensor) -> int:
        return count if x.shape[0] == batch and batch > 1 else 0

    # A product and a sum in one rounding would break the stillness of a face at rest.
    motion_kernel[(batch,)](
        *target, *(driving if initial is None else initial), *driving, factor, *out, count,
        step(target[0]), 0 if initial is None else step(initial[0]), step(driving[0]), int(factor.shape[0] > 1),
        RELATIVE=initial is not None, BLOCK=triton.next_power_of_2(count), num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip


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
    found, half, bfloat = [], torch.float16, torch.bfloat16
    for dtype, residual in ((torch.float32, False), (half, False), (half, True), (bfloat, True)):
        maps = dict.fromkeys("x_ptr add_ptr out_ptr hidden_ptr".split(), f"*{_NAMES[dtype]}")
        signature = {**maps, **floats, **integers, "flag_ptr": "*i32", "limit": "fp32"}
        given = {"BIASED": True, "ADDED": residual, "RELU": not residual, "STORED": True, "NORMED": residual}
        constants = {**given, "FLAGGED": dtype != torch.float32, "LONG": False, "BLOCK": _BLOCK}
        name = f"{_NAMES[dtype]}, {'residual' if residual else 'ReLU'}"
        found.append(Variant(name, settle_kernel, signature, constants, num_warps=_WARPS))
    pool = dict.fromkeys("x_ptr bias_ptr out_ptr".split(), "*fp32")
    pool |= dict.fromkeys("total channels width".split(), "i32")
    return [*found, Variant("fp32, means", pool_kernel, pool, {"LONG": False, "BLOCK": _BLOCK}, num_warps=_WARPS)]
