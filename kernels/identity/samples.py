"""Calls of identity: shapes of the real network first, then everything that has broken a kernel before."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/identity/identity.h has the same order.
MUTANTS = (
    "last row dropped",
    "column shifted",
    "row and column stride swapped",
    "last channel dropped",
    "batch stride ignored",
    "channel stride ignored",
    "rows reversed",
    "one element beyond the end",
)


def _noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def samples() -> list[Sample]:
    """Calls that must work."""
    not_numbers = _noise(1, 4, 4, 3)
    not_numbers.view(-1)[::5] = float("nan")
    not_numbers.view(-1)[1::7] = float("-inf")
    cases = [
        ("features of the network", _noise(1, 64, 64, 256), False),
        ("picture, 8 bit", (_noise(2, 3, 8, 9) * 255).to(torch.uint8).permute(0, 2, 3, 1), True),
        ("half", _noise(2, 3, 5, 7, dtype=torch.float16).permute(0, 2, 3, 1), True),
        ("bfloat16", _noise(2, 3, 5, 7, dtype=torch.bfloat16).permute(0, 2, 3, 1), True),
        ("double", _noise(2, 3, 5, 7, dtype=torch.float64).permute(0, 2, 3, 1), True),
        ("rank 3", _noise(5, 7, 3), True),
        ("one pixel, one channel", _noise(1, 1, 1, 1), True),
        ("1025 channels", _noise(1, 2, 1, 1025), True),
        ("no pictures", _noise(0, 4, 4, 3), True),
        ("permuted from NCHW", _noise(2, 3, 6, 5).permute(0, 2, 3, 1), True),
        ("every second column", _noise(2, 4, 12, 3)[:, :, ::2], True),
        ("expanded batch", _noise(1, 4, 4, 3).expand(3, -1, -1, -1), True),
        ("misaligned", _noise(1 + 4 * 4 * 3, dtype=torch.float16)[1:].view(1, 4, 4, 3), True),
        ("NaN and infinity", not_numbers, True),
    ]
    return [Sample(name, (x,), tiny) for name, x, tiny in cases]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size, its channels permuted from the front."""
    noise = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", (noise.to(dtype).permute(0, 2, 3, 1),))


def network() -> Sample:
    """The features of one frame."""
    return Sample("1x64x64x256", (_noise(1, 64, 64, 256),), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    return [
        Refusal("rank 2", (_noise(4, 4),), ShapeError, "[B, H, W, C]"),
        Refusal("rank 5", (_noise(1, 1, 4, 4, 3),), ShapeError, "[1, 1, 4, 4, 3]"),
        Refusal("complex", (_noise(1, 4, 4, 3, dtype=torch.complex64),), DtypeError, "complex64"),
        Refusal("bool", (_noise(1, 4, 4, 3) > 0,), DtypeError, "bool"),
    ]
