"""Calls of quantize: the network's map, numbers beyond both ends, halves, NaN, infinity and strange strides."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in the room's source, numbered from 1; csrc/quantize/quantize.h has the same order.
MUTANTS = (
    "cut off instead of rounded",
    "shift dropped",
    "scale dropped",
    "negative numbers mirrored",
    "too large wraps around",
    "NaN is the largest",
    "the first scale for all",
    "channel stride ignored",
    "batch stride ignored",
    "last pixel dropped",
    "one element beyond the end",
)
# What only an exact comparison shows: numbered on from there.
EXACT_MUTANTS = ("halves up",)

_Args = tuple[Tensor, Tensor, Tensor]


def _call(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1, spread: float = 70.0) -> _Args:
    """About half of the numbers become zero, and a few are too large."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(*shape, generator=generator)
    scale = (torch.rand(shape[3], generator=generator) + 0.5) * spread
    shift = torch.randn(shape[3], generator=generator) * 0.5 * spread
    return features.to(dtype), scale.to(dtype), shift.to(dtype)


def _broken() -> _Args:
    features, scale, shift = _call(1, 3, 5, 3)
    features[0, 0, 1, 0], features[0, 1, 2, 1], features[0, 2, 3, 2] = float("nan"), float("inf"), -float("inf")
    return features, scale, shift


def _halves() -> _Args:
    return torch.arange(-8, 520).view(1, 11, 16, 3) / 2, torch.ones(3), torch.zeros(3)


def _strange_strides() -> list[tuple[str, _Args]]:
    features, scale, shift = _call(2, 5, 6, 20, seed=3)
    misaligned = torch.empty(1 + features.numel())[1:].view(features.shape).copy_(features)
    return [
        ("permuted from NCHW", (features.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), scale, shift)),
        ("every second column", (_call(2, 5, 12, 20)[0][:, :, ::2], scale, shift)),
        ("every second channel", (_call(2, 5, 6, 40)[0][..., ::2], scale, shift)),
        ("expanded batch", (features[:1].expand(2, -1, -1, -1), scale, shift)),
        ("misaligned", (misaligned, scale, shift)),
        ("one scale and shift for all", (features, scale[:1].expand(20), shift[:1].expand(20))),
        ("every second scale", (features, scale.repeat_interleave(2)[::2], shift.repeat_interleave(2)[::2])),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    cases: list[tuple[str, _Args, bool]] = [
        ("64 channels", _call(2, 9, 8, 64), True),
        ("odd sizes", _call(2, 5, 7, 37), True),
        ("one number", _call(1, 1, 1, 1), True),
        ("all zero", _call(1, 2, 3, 17, spread=-0.0), True),
        ("mostly too large", _call(1, 4, 4, 16, spread=1e4), True),
        ("halves", _halves(), True),
        ("NaN and infinity", _broken(), True),
        ("no maps", _call(0, 4, 4, 3), True),
        ("no channels", _call(1, 4, 4, 0), True),
        ("double", _call(1, 4, 5, 3, dtype=torch.float64), True),
    ]
    cases += [(name, args, True) for name, args in _strange_strides()]
    return [network(), *(Sample(name, args, tiny) for name, args, tiny in cases)]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size."""
    exact = dtype if dtype == torch.float64 else torch.float32
    args = _call(batch, height, width, channels, dtype=exact, seed=seed)
    return Sample(f"{batch}x{height}x{width}x{channels} {exact}", args)


def network() -> Sample:
    """What comes into a residual block."""
    return Sample("residual block", _call(1, 64, 64, 256), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    features, scale, shift = _call(1, 4, 4, 3)
    return [
        Refusal("rank 3", (features[0], scale, shift), ShapeError, "[B, H, W, C]"),
        Refusal("another number of channels", (features, scale[:2], shift), ShapeError, "scale"),
        Refusal("scale for each pixel", (features, scale.expand(4, 3), shift), ShapeError, "[4, 3]"),
        Refusal("no shift to go with it", (features, scale, shift[:1]), ShapeError, "shift"),
        Refusal("half precision", (features.half(), scale.half(), shift.half()), DtypeError, "float16"),
        Refusal("bytes", (features.byte(), scale, shift), DtypeError, "uint8"),
        Refusal("two types", (features, scale.double(), shift), DtypeError, "scale"),
    ]
