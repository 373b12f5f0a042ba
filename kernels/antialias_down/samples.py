"""Calls of antialias_down: the network's picture, both Gaussians, kernels that are no outer product, every type."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.antialias_down.reference import gaussian_kernel
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/antialias_down/antialias_down.h has the same order.
MUTANTS = (
    "taps shifted by one",
    "even kernel centred as an odd one",
    "levels scaled wrongly",
    "kernel transposed",
    "kernel flipped",
    "border repeated",
    "last tap dropped",
    "batch stride ignored",
    "channels reversed",
    "last row dropped",
    "one element beyond the end",
)
_TYPES = (torch.uint8, torch.float32, torch.float16, torch.bfloat16)


def _noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _picture(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    noise = _noise(*shape, seed=seed)
    return (noise * 256).to(dtype) if dtype == torch.uint8 else noise.to(dtype)


def _taps(size: int, outer: bool = False) -> Tensor:
    """Uneven taps, their sum 1; an outer product or not."""
    taps = _noise(size, 1, seed=8) * _noise(1, size, seed=9) if outer else _noise(size, size, seed=9)
    return taps / taps.sum()


def _of_every_type() -> list[Sample]:
    cases = []
    for dtype in _TYPES:
        name = str(dtype).removeprefix("torch.")
        cases += [
            Sample(f"even taps, {name}", (_picture(2, 4, 6, 3, dtype=dtype), _taps(4), 2)),
            Sample(f"odd outer product, {name}", (_picture(1, 4, 4, 2, dtype=dtype), _taps(3, True), 2)),
            Sample(f"512x512, {name}", (_picture(1, 512, 512, 3, dtype=dtype), gaussian_kernel(0.25, True), 4), False),
        ]
    return cases


def _strides() -> list[Sample]:
    wide, loose = _picture(2, 4, 12, 3), _picture(1 + 2 * 4 * 6 * 3, dtype=torch.float16)
    kernel = _taps(4, True)
    return [
        Sample("planes", (_picture(2, 3, 4, 6).permute(0, 2, 3, 1), kernel, 2)),
        Sample("every second column", (wide[:, :, ::2], kernel, 2)),
        Sample("red, green and blue of four channels", (_picture(2, 4, 6, 4)[..., :3], kernel, 2)),
        Sample("expanded batch", (_picture(1, 4, 6, 3).expand(2, -1, -1, -1), kernel, 2)),
        Sample("misaligned", (loose[1:].view(2, 4, 6, 3), kernel, 2)),
        Sample("a part of a larger picture", (_picture(1, 9, 11, 3)[:, 2:6, 3:9], kernel, 2)),
        Sample("transposed", (_picture(1, 6, 4, 3).transpose(1, 2), kernel.T, 2)),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    holes = _picture(1, 8, 8, 3)
    holes[0, 1, 2, 0], holes[0, 6, 6, 1], holes[0, 0, 0, 2] = float("nan"), float("inf"), -float("inf")
    frame, corners = _picture(1, 256, 256, 3, dtype=torch.uint8, seed=2), gaussian_kernel(0.25)
    return [
        network(),
        Sample("corners", (frame, corners, 4), tiny=False),
        Sample("corners, planes of a white picture", (torch.ones(1, 3, 64, 64).permute(0, 2, 3, 1), corners, 4), False),
        Sample("corners, tiny", (frame[:, :8, :8], corners, 4)),
        Sample("no outer product", (frame[:, :96, :64], _taps(13) - 0.003, 4), tiny=False),
        Sample("kernel smaller than the stride", (_picture(1, 8, 8, 1), _taps(2), 4)),
        Sample("no reduction", (_picture(1, 3, 5, 2), _taps(3), 1)),
        Sample("stride three", (_picture(1, 6, 9, 2), _taps(5, True), 3)),
        Sample("one pixel, one tap", (_picture(1, 1, 1, 1), _taps(1), 1)),
        Sample("one output pixel", (_picture(1, 4, 4, 3), gaussian_kernel(0.25, True), 4)),
        Sample("taps of both signs", (_picture(1, 8, 8, 3), _taps(5) - 0.04, 2)),
        Sample("large numbers", (torch.full((1, 8, 8, 3), 2e38), corners, 4)),
        Sample("all taps zero", (_picture(1, 4, 4, 3), torch.zeros(3, 3), 2)),
        Sample("35 channels", (_picture(1, 4, 4, 35), _taps(3), 2)),
        Sample("no pictures", (_picture(0, 4, 4, 3), _taps(3), 2)),
        Sample("NaN and infinity", (holes, _taps(3, True), 2)),
        Sample("NaN and infinity, no outer product", (holes, _taps(3), 2)),
        Sample("double", (_picture(1, 4, 4, 3, dtype=torch.float64), _taps(3).double(), 2)),
        Sample("bytes and a double kernel", (frame[:, :8, :8], _taps(3).double(), 2)),
        Sample("double and a single kernel", (_picture(1, 4, 4, 3, dtype=torch.float64), _taps(3), 2)),
        *_of_every_type(),
        *_strides(),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A thumbnail of the given size from a picture with sides twice as long; planes, or pixels with an odd seed."""
    if seed % 2:
        picture = _picture(batch, 2 * height, 2 * width, channels, dtype=dtype, seed=seed)
    else:
        picture = _picture(batch, channels, 2 * height, 2 * width, dtype=dtype, seed=seed).permute(0, 2, 3, 1)
    kernel = _taps(2 + seed % 4, seed % 3 == 0).to(torch.float64 if dtype == torch.float64 else torch.float32)
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", (picture, kernel, 2))


def network() -> Sample:
    """One 8-bit frame, 256x256, and its thumbnail of 64x64."""
    frame = _picture(1, 256, 256, 3, dtype=torch.uint8)
    return Sample("256x256 bytes", (frame, gaussian_kernel(0.25, True), 4), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    picture, kernel = _picture(1, 8, 8, 3), _taps(3)
    return [
        Refusal("rank 3", (picture[0], kernel, 2), ShapeError, "[B, H, W, C]"),
        Refusal("a line of taps", (picture, kernel[0], 2), ShapeError, "[3] float32"),
        Refusal("an oblong kernel", (picture, kernel[:2], 2), ShapeError, "[2, 3]"),
        Refusal("a side left over", (picture[:, :7], kernel, 2), ShapeError, "multiples of stride 2"),
        Refusal("no rows", (picture[:, :0], kernel, 2), ShapeError, "[1, 0, 8, 3]"),
        Refusal("whole numbers", (picture.int(), kernel, 2), DtypeError, "int32"),
        Refusal("kernel of bytes", (picture, kernel.byte(), 2), DtypeError, "uint8"),
        Refusal("stride zero", (picture, kernel, 0), OptionError, "stride is 0"),
        Refusal("even kernel, odd stride", (picture, _taps(4), 1), OptionError, "even kernel"),
    ]
