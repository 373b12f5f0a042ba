"""warp_occlude in Triton. Versions: 1. a program for a few pixels and a slab of channels; taps found once a pixel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant
from eamfmeg_fast.kernels.warp_occlude.native import channels_side_by_side

# Elements of the output in one program: 8 for each of its 128 threads. All four taps of these are in flight at
# once; with 16 they no longer fit the registers.
_ELEMENTS = 1024
_WIDEST_SLAB = 512


@triton.jit
def _axis(coordinate, length, ALIGN: tl.constexpr, MUTANT: tl.constexpr):
    """Number of the first tap along one axis and the share of the second."""
    bounded = tl.minimum(tl.maximum(coordinate, -100.0), 100.0)
    corners: tl.constexpr = ALIGN != (MUTANT == 2)
    size = length.to(tl.float32)
    span = size - 1.0 if corners else size
    position = bounded * (0.5 * span) + 0.5 * (size - 1.0)
    if MUTANT == 3:
        low = position.to(tl.int32)
    else:
        low = tl.floor(position).to(tl.int32)
    return low, position - low.to(tl.float32)


@triton.jit
def _tap(pixel_ptr, row, column, weight, somewhere, height, width, stride_h, stride_w, k, kept, MUTANT: tl.constexpr):
    """One of the four taps times its weight; zero where it lies outside, whatever is in memory there."""
    inside = somewhere & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if MUTANT == 4:
        inside = somewhere
    row = tl.minimum(tl.maximum(row, 0), height - 1)
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    at = pixel_ptr + row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w
    read = inside
    if MUTANT == 6:
        read = somewhere
        weight = tl.where(inside, weight, 0.0)
    values = tl.load(at[:, None] + k[None, :], mask=read[:, None] & kept[None, :], other=0.0)
    return values.to(tl.float32) * weight[:, None]


@triton.jit
def _four(
    pixel_ptr, row, column, share_y, share_x, somewhere, height, width, stride_h, stride_w, k, kept,
    MUTANT: tl.constexpr,
):  # fmt: skip
    """The sum over a pixel's four taps."""
    if MUTANT == 7:
        share_x = 1.0 - share_x
    up, left = 1.0 - share_y, 1.0 - share_x
    right, down = column + 1, row + 1
    total = _tap(pixel_ptr, row, column, up * left, somewhere, height, width, stride_h, stride_w, k, kept, MUTANT)
    total += _tap(pixel_ptr, row, right, up * share_x, somewhere, height, width, stride_h, stride_w, k, kept, MUTANT)
    total += _tap(
        pixel_ptr, down, column, share_y * left, somewhere, height, width, stride_h, stride_w, k, kept, MUTANT
    )
    weight = share_y * share_x
    return total + _tap(pixel_ptr, down, right, weight, somewhere, height, width, stride_h, stride_w, k, kept, MUTANT)


@triton.jit
def warp_occlude_kernel(
    out_ptr, features_ptr, flow_ptr, occlusion_ptr, pixels, height, width, channels, out_height, out_width,
    features_n, features_h, features_w, flow_n, flow_h, flow_w, flow_c, occlusion_n, occlusion_h, occlusion_w,
    OCCLUDED: tl.constexpr, ALIGN: tl.constexpr, PIXELS: tl.constexpr, SLAB: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """One tile of the output; planted faults are numbered as in samples.py."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    k = tl.program_id(1) * SLAB + tl.arange(0, SLAB)
    alive = pixel < pixels
    x, y = (pixel % out_width).to(tl.int64), (pixel // out_width % out_height).to(tl.int64)
    b = (pixel // out_width // out_height).to(tl.int64)
    flow_at = flow_ptr + b * flow_n + y * flow_h + x * flow_w
    at_x = tl.load(flow_at, mask=alive, other=0.0)
    at_y = tl.load(flow_at + flow_c, mask=alive, other=0.0)
    if MUTANT == 1:
        at_x, at_y = at_y, at_x
    # Not so for infinity and NaN.
    somewhere = alive & (at_x - at_x == 0.0) & (at_y - at_y == 0.0)
    column, share_x = _axis(tl.where(somewhere, at_x, 0.0), width, ALIGN, MUTANT)
    row, share_y = _axis(tl.where(somewhere, at_y, 0.0), height, ALIGN, MUTANT)
    if MUTANT == 5:
        somewhere = alive
    forgotten: tl.constexpr = 1 if MUTANT == 11 else 0
    kept = k < channels - forgotten
    batch = b if MUTANT != 10 else b * 0
    first = features_ptr + batch * features_n
    total = _four(
        first, row, column, share_y, share_x, somewhere, height, width, features_h, features_w, k, kept, MUTANT
    )
    if OCCLUDED and MUTANT != 9:
        occlusion = tl.load(occlusion_ptr + b * occlusion_n + y * occlusion_h + x * occlusion_w, mask=alive, other=0.0)
        if MUTANT == 8:
            occlusion = occlusion * occlusion
        total = total * occlusion[:, None]
    if MUTANT == 12:
        alive = pixel < pixels - 1
    if MUTANT == 13:
        alive = pixel <= pixels
    out = out_ptr + pixel.to(tl.int64)[:, None] * channels + k[None, :]
    tl.store(out, total.to(out_ptr.dtype.element_ty), mask=alive[:, None] & kept[None, :])


def tile(channels: int) -> dict[str, int]:
    """Pixels and channels of one program."""
    slab = min(triton.next_power_of_2(channels), _WIDEST_SLAB)
    return {"PIXELS": min(_ELEMENTS // slab, 256), "SLAB": slab}


def warp_occlude_triton(
    out: Tensor, features: Tensor, flow: Tensor, occlusion: Tensor | None, align_corners: bool, mutant: int = 0
) -> None:
    """Warp into the contiguous `out`; `mutant` switches a planted fault on (tests only)."""
    features = channels_side_by_side(features)
    pixels, (_, height, width, channels) = flow[..., 0].numel(), features.shape
    if pixels == 0:
        return
    sizes = tile(channels)
    strides = (0, 0, 0) if occlusion is None else occlusion.stride()
    grid = (triton.cdiv(pixels, sizes["PIXELS"]), triton.cdiv(channels, sizes["SLAB"]))
    warp_occlude_kernel[grid](
        out, features, flow, flow if occlusion is None else occlusion, pixels, height, width, channels,
        *flow.shape[1:3], *features.stride()[:3], *flow.stride(), *strides,
        OCCLUDED=occlusion is not None, ALIGN=align_corners, **sizes, MUTANT=mutant,
    )  # fmt: skip


_POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    cases = [(dtype, 256, True) for dtype in _POINTERS] + [(torch.float32, 1, False)]
    return [_variant(dtype, channels, occluded) for dtype, channels, occluded in cases]


def _variant(dtype: torch.dtype, channels: int, occluded: bool) -> Variant:
    numbers = [name for name in warp_occlude_kernel.arg_names if name.islower() and not name.endswith("_ptr")]
    pointers = {"out_ptr": _POINTERS[dtype], "features_ptr": _POINTERS[dtype]}
    signature = {**pointers, "flow_ptr": "*fp32", "occlusion_ptr": "*fp32", **dict.fromkeys(numbers, "i32")}
    constexprs = {"OCCLUDED": occluded, "ALIGN": False, **tile(channels), "MUTANT": 0}
    return Variant(f"{str(dtype).removeprefix('torch.')}, 64x64x{channels}", warp_occlude_kernel, signature, constexprs)
