"""Calls of to_image: the network's planes, both readings, halves, what lies outside, NaN and infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/to_image/to_image.h has the same order.
MUTANTS = (
    "cut off instead of rounded",
    "256 levels",
    "NaN is white",
    "too bright wraps around",
    "logits taken for levels",
    "levels from minus one",
    "blue first",
    "channel stride ignored",
    "batch stride ignored",
    "last pixel dropped",
    "one element beyond the end",
)
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def _noise(*shape: int, seed: int = 1, spread: float = 0.4) -> Tensor:
    """Around one half, partly outside [0, 1]."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread + 0.5


def _planes(batch: int, height: int, width: int, dtype: torch.dtype, spread: float = 0.4) -> Tensor:
    return _noise(batch, 3, height, width, spread=spread).to(dtype).permute(0, 2, 3, 1)


def _of_every_type() -> list[Sample]:
    cases = []
    for dtype in _TYPES:
        name = str(dtype).removeprefix("torch.")
        broken = _noise(1, 3, 5, 3).to(dtype)
        broken[0, 0, 1, 0], broken[0, 1, 2, 1], broken[0, 2, 3, 2] = float("nan"), float("inf"), -float("inf")
        steps = (torch.arange(512).view(1, 8, 64, 1) / 510).to(dtype)
        cases += [
            Sample(f"planes, {name}", (_planes(2, 3, 37, dtype), False)),
            Sample(f"planes of logits, {name}", (_planes(2, 3, 5, dtype, 5.0), True)),
            Sample(f"pixels, {name}", (_noise(2, 3, 7, 3).to(dtype), False)),
            Sample(f"logits, {name}", (_noise(1, 4, 7, 3, spread=5.0).to(dtype), True)),
            Sample(f"NaN and infinity, {name}", (broken, False)),
            Sample(f"logits, NaN and infinity, {name}", (broken, True)),
            Sample(f"halves, {name}", (steps, False)),
            Sample(f"512x512, {name}", (_planes(1, 512, 512, dtype), False), False),
        ]
    return cases


def samples() -> list[Sample]:
    """Calls that must work."""
    loose = _noise(1 + 2 * 4 * 5 * 3).half()[1:].view(2, 4, 5, 3)
    large = torch.linspace(-120, 120, 3 * 700).view(1, 1, 700, 3)
    return [
        network(),
        Sample("256x256 logits, pixels", (_noise(1, 256, 256, 3, spread=4.0), True), tiny=False),
        *_of_every_type(),
        Sample("logits from end to end", (large, True)),
        Sample("nothing but small logits", (torch.full((1, 1, 2, 3), -9.0), True)),
        Sample("rank 3", (_noise(5, 7, 3), False)),
        Sample("one pixel, one channel", (_noise(1, 1, 1, 1), False)),
        Sample("70 channels", (_noise(1, 2, 1, 70), False)),
        Sample("no pictures", (_noise(0, 4, 4, 3), False)),
        Sample("every second column", (_noise(2, 4, 10, 3)[:, :, ::2], False)),
        Sample("three of four channels", (_noise(2, 4, 5, 4)[..., :3], False)),
        Sample("two planes", (_noise(2, 2, 4, 5).permute(0, 2, 3, 1), False)),
        Sample("expanded batch", (_noise(1, 4, 5, 3).expand(2, -1, -1, -1), True)),
        Sample("transposed planes", (_planes(1, 6, 20, torch.float32).transpose(1, 2), False)),
        Sample("misaligned", (loose, False)),
        Sample("double", (_noise(1, 4, 5, 3).double(), True)),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size, its channels permuted from the front."""
    noise = _noise(batch, channels, height, width, seed=seed).to(dtype).permute(0, 2, 3, 1)
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", (noise, seed % 2 == 0))


def network() -> Sample:
    """The planes that the generator's last sigmoid writes."""
    planes = torch.sigmoid(_noise(1, 3, 256, 256, spread=2.0)).permute(0, 2, 3, 1)
    return Sample("256x256 planes", (planes, False), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    return [
        Refusal("rank 2", (_noise(4, 4), False), ShapeError, "[B, H, W, C]"),
        Refusal("rank 5", (_noise(1, 1, 4, 4, 3), False), ShapeError, "[1, 1, 4, 4, 3]"),
        Refusal("bytes", (_noise(1, 4, 4, 3).byte(), False), DtypeError, "uint8"),
        Refusal("complex", (_noise(1, 4, 4, 3).to(torch.complex64), True), DtypeError, "complex64"),
    ]
