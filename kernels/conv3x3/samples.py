"""Calls of conv3x3: shapes of the real network first, then everything that could break a kernel."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in the room's code, numbered from 1; csrc/conv3x3/conv3x3.h has the same order.
MUTANTS = (
    "first row repeated above the picture",
    "right border wraps to the first column",
    "bias dropped",
    "last input channel dropped",
    "batch stride ignored",
    "kernel transposed",
    "last output channel dropped",
    "one element beyond the end",
    "relu after the residual",
    "padding activated",
    "shift dropped",
    "scale dropped",
    "residual dropped",
    "last frequency forgotten",
    "points exchanged",
)

_Args = tuple[Any, ...]
_BOTH = ("float32", "bfloat16")


def _call(
    *sizes: int,
    products: str = "float32",
    biased: bool = True,
    activated: bool = False,
    added: bool = False,
    relu: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 1,
) -> _Args:
    """Arguments of sizes B, H, W, C, O; kernels as large as trained ones."""
    batch, height, width, inner, outer = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    features, weight = draw(batch, height, width, inner), draw(outer, inner, 3, 3) / math.sqrt(9 * inner)
    bias = draw(outer) if biased else None
    scale, shift = (draw(inner).abs() + 0.5, draw(inner)) if activated else (None, None)
    residual = draw(batch, height, width, outer) if added else None
    return features, weight, bias, scale, shift, residual, relu, products


def _block(*sizes: int, products: str, seed: int = 1) -> _Args:
    """A call that uses everything."""
    return _call(*sizes, products=products, activated=True, added=True, relu=True, seed=seed)


def _spoilt(value: float) -> _Args:
    """A number that is not finite, in the upper left corner of a map of one tile's height: it meets one frequency."""
    features, weight, *others = _call(1, 4, 6, 3, 4)
    features[0, 2, 2, 1] = value
    return features, weight, *others


def _strange_strides(products: str) -> list[tuple[str, _Args]]:
    features, weight, *others = _block(2, 5, 6, 20, 18, products=products, seed=3)
    bias, scale, shift, residual, relu, _ = others
    misaligned = torch.empty(1 + features.numel())[1:].view(features.shape).copy_(features)
    first = features.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    last = weight.to(memory_format=torch.channels_last)
    one = torch.full((1,), 0.5)
    sparse = torch.stack([residual, residual], -1).flatten(-2)[..., ::2]
    return [
        ("features permuted from NCHW", (first, weight, *others)),
        ("every second channel", (_call(2, 5, 6, 40, 18)[0][..., ::2], weight, *others)),
        ("expanded batch", (features[:1].expand(2, -1, -1, -1), weight, *others)),
        ("misaligned", (misaligned, last, *others)),
        ("one number for all", (features, weight, one.expand(18), one.expand(20), shift, residual, relu, products)),
        ("every second residual", (features, weight, bias, scale, shift, sparse, relu, products)),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    cases: list[tuple[str, _Args, bool]] = []
    for products in _BOTH:
        cases += [
            ("residual block", _block(1, 64, 64, 256, 256, products=products), False),
            ("square of a map of many chunks", _call(2, 60, 67, 64, 32, products=products), False),
            ("deep", _call(1, 2, 3, 1024, 17, products=products), False),
            ("odd sizes", _block(2, 5, 7, 19, 37, products=products), True),
            ("more rows than tiles", _block(1, 13, 2, 5, 3, products=products), True),
            ("one pixel, one channel", _call(1, 1, 1, 1, 1, products=products), True),
            ("one row", _call(2, 1, 9, 4, 5, products=products), True),
            ("one column", _call(1, 9, 1, 4, 5, products=products, relu=True), True),
            ("more tiles than a strip", _call(1, 17, 18, 3, 2, products=products, added=True), True),
            ("more channels than a line", _call(1, 3, 6, 35, 34, products=products, activated=True), True),
            ("no bias", _call(1, 6, 4, 16, 32, products=products, biased=False), True),
            ("no pictures", _call(0, 4, 4, 3, 2, products=products), True),
            *((name, args, True) for name, args in _strange_strides(products)),
        ]
    named = [(f"{name}, {args[7]}", args, tiny) for name, args, tiny in cases]
    huge, weight, *others = _call(1, 3, 3, 3, 3)
    named += [
        ("NaN", _spoilt(math.nan), True),
        ("infinity", _spoilt(math.inf), True),
        ("huge", (huge * 1e30, weight, *others), True),
        ("double", _call(2, 3, 5, 7, 9, dtype=torch.float64, activated=True, added=True), True),
    ]
    return [Sample(name, args, tiny) for name, args, tiny in named]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size; the seed decides about output channels, products and what else there is."""
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    switches = dict(
        zip(("biased", "activated", "added", "relu"), list(itertools.product((True, False), repeat=4))[seed % 16])
    )
    outer, products = 1 + seed % 35, _BOTH[seed % 3 == 0]
    args = _call(batch, height, width, channels, outer, products=products, dtype=kind, seed=seed, **switches)
    return Sample(f"{batch}x{height}x{width}x{channels} {kind}", args)


def network(products: str = "float32") -> Sample:
    """One convolution of a residual block of the full-size network."""
    args = _block(1, 64, 64, 256, 256, products=products)
    return Sample(f"1x64x64x256, products in {products}", args, tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    features, weight, bias, scale, shift, residual, relu, products = _block(1, 4, 4, 3, 2, products="float32")
    rest = (scale, shift, residual, relu, products)
    wrong = torch.zeros(5)
    return [
        Refusal("rank 3", (features[0], weight, bias, *rest), ShapeError, "[B, H, W, C]"),
        Refusal("channels first", (features.permute(0, 3, 1, 2), weight, bias, *rest), ShapeError, "[1, 3, 4, 4]"),
        Refusal("5x5 kernel", (features, torch.zeros(2, 3, 5, 5), bias, *rest), ShapeError, "[2, 3, 5, 5]"),
        Refusal("no row", (features[:, :0], weight, bias, *rest), ShapeError, "[1, 0, 4, 3]"),
        Refusal("no output channel", (features, weight[:0], None, *rest), ShapeError, "[0, 3, 3, 3]"),
        Refusal("bias of another length", (features, weight, wrong, *rest), ShapeError, "[2]"),
        Refusal("scale of another length", (features, weight, bias, wrong, *rest[1:]), ShapeError, "[3]"),
        Refusal("scale alone", (features, weight, bias, scale, None, *rest[2:]), ShapeError, "scale"),
        Refusal("shift alone", (features, weight, bias, None, *rest[1:]), ShapeError, "shift"),
        Refusal(
            "small residual", (features, weight, bias, scale, shift, features, relu, products), ShapeError, "residual"
        ),
        Refusal("half", (features.half(), weight, bias, *rest), DtypeError, "float16"),
        Refusal("weight of another type", (features, weight.half(), bias, *rest), DtypeError, "float16"),
        Refusal("bias of another type", (features, weight, torch.zeros(2).double(), *rest), DtypeError, "float64"),
        Refusal("unknown products", (features, weight, bias, *rest[:4], "float16"), OptionError, "float16"),
    ]
