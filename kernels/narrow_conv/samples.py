"""Calls of narrow_conv: the network's last layer, every number of channels and kernel, and what can break a border."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in the room's source, numbered from 1; csrc/narrow_conv/narrow_conv.h has the same order.
MUTANTS = (
    "kernel transposed",
    "kernel reversed",
    "bias dropped",
    "bias of the first channel for all",
    "last input channel dropped",
    "batch stride ignored",
    "first row repeated above the picture",
    "right border wraps to the first column",
    "last row of the kernel forgotten",
    "last output channel dropped",
    "shifted by a pixel",
    "one element beyond the end",
)
_TYPES = (torch.float32, torch.bfloat16)

_Args = tuple[Tensor, Tensor, Tensor | None]


def _call(*sizes: int, dtype: torch.dtype = torch.float32, biased: bool = True, seed: int = 1) -> _Args:
    """Arguments of sizes B, H, W, C, O, K; kernels as large as trained ones."""
    batch, height, width, inner, outer, side = sizes
    exact = torch.promote_types(dtype, torch.float32)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, height, width, inner, generator=generator)
    weight = torch.randn(outer, inner, side, side, generator=generator) / math.sqrt(side * side * inner)
    bias = torch.randn(outer, generator=generator).to(exact) if biased else None
    return features.to(dtype), weight.to(exact), bias


def _not_finite(value: float, outer: int, dtype: torch.dtype) -> _Args:
    """Kernels of one sign: an infinity then meets no other, and no zero."""
    features, weight, bias = _call(1, 6, 35, 3, outer, 5, dtype=dtype)
    features[0, 2, 3, 1] = features[0, 0, 30, 0] = value
    return features, weight.abs() + 0.01, bias


def _of_every_type() -> list[tuple[str, _Args, bool]]:
    cases: list[tuple[str, _Args, bool]] = []
    for dtype in _TYPES:
        name = str(dtype).removeprefix("torch.")
        features, weight, bias = _call(2, 6, 9, 20, 6, 3, dtype=dtype, seed=3)
        loose = torch.empty(1 + features.numel(), dtype=dtype)[1:].view(features.shape).copy_(features)
        strided = features.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        wide = _call(2, 6, 18, 20, 6, 3, dtype=dtype)[0]
        cases += [
            (f"{name}, 16 to 3, 7x7", _call(1, 36, 72, 16, 3, 7, dtype=dtype), False),
            (f"{name}, 70 channels", _call(1, 5, 34, 70, 5, 5, dtype=dtype), False),
            (f"{name}, 300 channels", _call(1, 3, 5, 300, 2, 3, dtype=dtype), True),
            (f"{name}, odd sizes", _call(2, 7, 37, 5, 3, 7, dtype=dtype), True),
            (f"{name}, smaller than the kernel", _call(2, 2, 2, 3, 4, 7, dtype=dtype), True),
            (f"{name}, permuted from NCHW", (strided, weight, bias), True),
            (f"{name}, every second column", (wide[:, :, ::2], weight, bias), True),
            (f"{name}, expanded batch", (features[:1].expand(2, -1, -1, -1), weight, bias), True),
            (f"{name}, misaligned", (loose, weight, bias), True),
            (f"{name}, weight in channels-last", (features, weight.to(memory_format=torch.channels_last), bias), True),
            (f"{name}, NaN", _not_finite(math.nan, 7, dtype), True),
            (f"{name}, infinity", _not_finite(math.inf, 8, dtype), True),
            (f"{name}, one pixel, one channel", _call(1, 1, 1, 1, 1, 1, dtype=dtype), True),
        ]
    return cases


def samples() -> list[Sample]:
    """Calls that must work."""
    features, weight, bias = _call(1, 4, 5, 3, 3, 5)
    cases: list[tuple[str, _Args, bool]] = [
        ("64 to 3, 7x7", _call(1, 34, 70, 64, 3, 7), False),
        *_of_every_type(),
        ("one row", _call(2, 1, 19, 4, 5, 5), True),
        ("one column", _call(1, 19, 1, 4, 5, 5), True),
        ("no bias", _call(1, 3, 4, 16, 8, 3, biased=False), True),
        ("no pictures", _call(0, 4, 4, 3, 2, 3), True),
        ("huge", (features * 1e30, weight, bias), True),
        ("one bias for all", (features, weight, torch.full((1,), 0.5).expand(3)), True),
        ("double", _call(2, 3, 5, 7, 3, 7, dtype=torch.float64), True),
    ]
    return [Sample(name, args, tiny) for name, args, tiny in cases]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size, the rest as the seed says; float16, which is refused, becomes float32."""
    dtype = torch.float32 if dtype == torch.float16 else dtype
    sizes = (batch, height, width, channels, 1 + seed % 8, (1, 3, 5, 7)[seed % 4])
    return Sample(f"{sizes} {dtype}", _call(*sizes, dtype=dtype, biased=seed % 3 > 0, seed=seed))


def network() -> Sample:
    """The last layer of the full-size generator."""
    return Sample("256x256, 64 to 3", _call(1, 256, 256, 64, 3, 7), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    features, weight, bias = _call(1, 4, 4, 3, 2, 3)
    calls = [
        ("rank 3", (features[0], weight, bias), ShapeError, "[B, H, W, C]"),
        ("channels first", (features.permute(0, 3, 1, 2), weight, bias), ShapeError, "[1, 3, 4, 4]"),
        ("even kernel", (features, torch.zeros(2, 3, 4, 4), bias), ShapeError, "[2, 3, 4, 4]"),
        ("9x9 kernel", (features, torch.zeros(2, 3, 9, 9), bias), ShapeError, "[2, 3, 9, 9]"),
        ("oblong kernel", (features, torch.zeros(2, 3, 3, 5), bias), ShapeError, "[2, 3, 3, 5]"),
        ("nine output channels", (features, torch.zeros(9, 3, 3, 3), None), ShapeError, "[9, 3, 3, 3]"),
        ("no output channel", (features, weight[:0], None), ShapeError, "[0, 3, 3, 3]"),
        ("no row", (features[:, :0], weight, bias), ShapeError, "[1, 0, 4, 3]"),
        ("kernel without rows", (features, weight[0, 0], bias), ShapeError, "weight is [3, 3]"),
        ("bias of another length", (features, weight, torch.zeros(3)), ShapeError, "[2]"),
        ("half", (features.half(), weight, bias), DtypeError, "float16"),
        ("weight of another type", (features.bfloat16(), weight.bfloat16(), bias), DtypeError, "bfloat16"),
        ("bias of another type", (features, weight, torch.zeros(2).double()), DtypeError, "float64"),
    ]
    return [Refusal(*call) for call in calls]
