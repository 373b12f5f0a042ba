"""The short forms that a run keeps its numbers in: what a checkpoint holds is exactly what the run goes on with.

Weights have 24 bits (a float32 without its last 8: an update of a thousandth is still 30 steps of it), moments 16
(bfloat16). Rounding is random, with probabilities that keep the mean: to the nearest, a moment that shrinks by a
thousandth a step would never shrink at all.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 8
"""Bits of a float32 that a weight does without."""


def dither(count: int, seed: int, device: torch.device) -> Tensor:
    """Random bits, int32 `[count]`, a function of `seed` (and of the kind of device)."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randint(-(2**31), 2**31, (count,), dtype=torch.int32, device=device, generator=generator)


def shortened(x: Tensor, bits: Tensor) -> Tensor:
    """float32 as bfloat16, up or down at random; `bits` as from `dither`, of which the lower 16 count."""
    return ((x.view(torch.int32) + (bits & 0xFFFF)) & -0x10000).view(torch.float32).to(torch.bfloat16)


def trimmed(x: Tensor, bits: Tensor | None = None) -> Tensor:
    """float32 with its last 8 bits zero, up or down at random by the last 8 of `bits`; without them, the nearest."""
    step = 1 << _LOW
    add = step // 2 if bits is None else bits & (step - 1)
    return ((x.view(torch.int32) + add) & -step).view(torch.float32)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """What `trimmed` gave, as bfloat16 (its first 16 bits) and uint8 (the next 8)."""
    whole = x.detach().to("cpu", torch.float32).contiguous().view(torch.int32)
    high = (whole & -0x10000).view(torch.float32).to(torch.bfloat16)
    return high, ((whole >> _LOW) & 0xFF).to(torch.uint8)


def joined(high: Tensor, low: Tensor) -> Tensor:
    """float32, the inverse of `split`."""
    return (high.float().view(torch.int32) | (low.to(torch.int32) << _LOW)).view(torch.float32)
