"""Calls of upsample_conv: shapes of the real network first, then everything that could break a kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/upsample_conv/upsample_conv.h has the same order.
MUTANTS = (
    "row phases exchanged",
    "column phases exchanged",
    "middle row of the kernel forgotten",
    "first row repeated above the picture",
    "right border wraps to the first column",
    "bias dropped",
    "last input channel dropped",
    "batch stride ignored",
    "kernel transposed",
    "last output channel dropped",
    "one element beyond the end",
)

# The CPU room's, in what only an engine asks for; numbered on from there.
ENGINE_MUTANTS = (
    "relu dropped",
    "column of a tile forgotten",
    "distance of output pixels ignored",
    "second of a pair dropped",
)

_Args = tuple[Tensor, Tensor, Tensor | None]


def _call(*sizes: int, dtype: torch.dtype = torch.float32, biased: bool = True, seed: int = 1) -> _Args:
    """Arguments of sizes B, H, W, C, O; kernels as large as trained ones."""
    batch, height, width, inner, outer = sizes
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, height, width, inner, generator=generator)
    weight = torch.randn(outer, inner, 3, 3, generator=generator) / math.sqrt(9 * inner)
    bias = torch.randn(outer, generator=generator).to(dtype) if biased else None
    return features.to(dtype), weight.to(dtype), bias


def _not_finite(value: float) -> _Args:
    """Kernels of one sign: an infinity then meets no other, and no zero."""
    features, weight, bias = _call(1, 5, 6, 3, 4)
    features[0, 2, 3, 1] = features[0, 0, 5, 0] = value
    return features, weight.abs() + 0.01, bias


def _times(factor: float) -> _Args:
    features, weight, bias = _call(1, 3, 3, 3, 3)
    return features * factor, weight, bias


def _strange_strides() -> list[tuple[str, _Args]]:
    features, weight, bias = _call(2, 5, 6, 20, 18, seed=3)
    misaligned = torch.empty(1 + features.numel())[1:].view(features.shape).copy_(features)
    flipped = weight.transpose(2, 3).contiguous().transpose(2, 3)
    return [
        ("features permuted from NCHW", (features.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), weight, bias)),
        ("every second column", (_call(2, 5, 12, 20, 18)[0][:, :, ::2], weight, bias)),
        ("every second channel", (_call(2, 5, 6, 40, 18)[0][..., ::2], weight, bias)),
        ("expanded batch", (features[:1].expand(2, -1, -1, -1), weight, bias)),
        ("misaligned", (misaligned, weight, bias)),
        ("weight in channels-last", (features, weight.to(memory_format=torch.channels_last), bias)),
        ("weight with columns before rows", (features, flipped, bias)),
        ("one bias for all", (features, weight, torch.full((1,), 0.5).expand(18))),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    cases: list[tuple[str, _Args, bool]] = [
        ("first up block", _call(1, 64, 64, 256, 128), False),
        ("eight rows of the second up block", _call(1, 8, 128, 128, 64), False),
        ("deepest up block of an hourglass", _call(1, 2, 2, 1024, 512), False),
        ("512 x 512", _call(1, 256, 256, 9, 3), False),
        ("bfloat16, 32 x 32", _call(1, 32, 32, 128, 64, dtype=torch.bfloat16), False),
        ("half, 32 x 32", _call(1, 32, 32, 128, 64, dtype=torch.float16), False),
        ("odd sizes", _call(1, 5, 7, 19, 37), True),
        ("one pixel, one channel", _call(1, 1, 1, 1, 1), True),
        ("one row", _call(2, 1, 9, 4, 5), True),
        ("one column", _call(1, 9, 1, 4, 5), True),
        ("wider than a strip", _call(1, 1, 47, 3, 2), False),
        ("more channels than a block", _call(1, 2, 3, 35, 34), True),
        ("no bias", _call(1, 3, 4, 16, 32, biased=False), True),
        ("no pictures", _call(0, 4, 4, 3, 2), True),
        ("NaN", _not_finite(math.nan), True),
        ("infinity", _not_finite(math.inf), True),
        ("huge", _times(1e30), True),
        *((name, args, "second column" not in name) for name, args in _strange_strides()),
    ]
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        cases.append((name, _call(2, 3, 5, 7, 9, dtype=dtype), True))
        features, weight, bias = _call(1, 3, 20, 17, 33, dtype=dtype)
        strided = features.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        cases.append((f"{name}, permuted from NCHW", (strided, weight, bias), True))
    cases.append(("double", _call(2, 3, 5, 7, 9, dtype=torch.float64), True))
    return [Sample(name, args, tiny) for name, args, tiny in cases]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size, with as many output channels as the seed says."""
    args = _call(batch, height, width, channels, 1 + seed % 35, dtype=dtype, biased=seed % 3 > 0, seed=seed)
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", args)


def network() -> Sample:
    """The first up block of one frame."""
    return Sample("1x64x64x256 to 128", _call(1, 64, 64, 256, 128), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    features, weight, bias = _call(1, 4, 4, 3, 2)
    return [
        Refusal("rank 3", (features[0], weight, bias), ShapeError, "[B, H, W, C]"),
        Refusal("channels first", (features.permute(0, 3, 1, 2), weight, bias), ShapeError, "[1, 3, 4, 4]"),
        Refusal("5x5 kernel", (features, torch.zeros(2, 3, 5, 5), bias), ShapeError, "[2, 3, 5, 5]"),
        Refusal("no row", (features[:, :0], weight, bias), ShapeError, "[1, 0, 4, 3]"),
        Refusal("no output channel", (features, weight[:0], None), ShapeError, "[0, 3, 3, 3]"),
        Refusal("bias of another length", (features, weight, torch.zeros(3)), ShapeError, "[2]"),
        Refusal("integers", (features.int(), weight, bias), DtypeError, "int32"),
        Refusal("weight of another type", (features, weight.half(), bias), DtypeError, "float16"),
        Refusal("bias of another type", (features, weight, torch.zeros(2).double()), DtypeError, "float64"),
    ]
