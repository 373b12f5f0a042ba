"""Calls of soft_argmax: the network's maps, nearly flat ones and peaks, packed and foreign strides, NaN, infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/soft_argmax/soft_argmax.h has the same order.
MUTANTS = (
    "maximum not subtracted",
    "temperature multiplied",
    "x and y swapped",
    "the other pixel grid",
    "Jacobian transposed",
    "chunks not rescaled",
    "last pixel dropped",
    "batch stride ignored",
    "Jacobian not normalised",
    "stride of a packed pixel ignored",
    "one element beyond the end",
)


def _noise(*shape: int, seed: int = 1, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


def _peaks(batch: int, height: int, width: int, count: int, steepness: float) -> Tensor:
    """Logits as a trained detector draws them: one broad hill for each keypoint."""
    y, x = (torch.linspace(-1, 1, n) for n in (height, width))
    centre = torch.rand(batch, 1, 1, count, 2, generator=torch.Generator().manual_seed(2)) * 1.4 - 0.7
    distance = (x[:, None] - centre[..., 0]) ** 2 + (y[:, None, None] - centre[..., 1]) ** 2
    return -steepness * distance + _noise(batch, height, width, count, spread=0.05)


def _maps(*shape: int) -> Tensor:
    return torch.eye(2) + _noise(*shape, 2, 2, seed=3, spread=0.2)


def _packed(batch: int, height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    both = _noise(batch, height, width, 5 * count, seed=4)
    return both[..., :count], both[..., count:].unflatten(-1, (count, 2, 2))


def _odd_values() -> list[Sample]:
    broken, maps = _noise(1, 5, 7, 4), _maps(1, 5, 7, 4)
    broken[0, 2, 3, 0] = float("nan")
    broken[0, 4, 6, 1] = float("inf")
    broken[..., 2] = -float("inf")
    gaps, holes = _noise(1, 20, 27, 2), _maps(1, 20, 27, 2)
    gaps[0, :19] = -float("inf")
    holes[0, 19, 3, 1, 0, 1] = float("nan")
    return [
        Sample("NaN and infinite logits", (broken, maps, 0.1, "corners")),
        Sample("most of the map at minus infinity, NaN in the Jacobians", (gaps, holes, 0.5, "centres")),
        Sample("no spread at all", (torch.full((1, 6, 9, 2), 3.25), _maps(1, 6, 9, 2), 0.1, "corners")),
        Sample("logits of a thousand", (_noise(1, 6, 9, 3, spread=1000), _maps(1, 6, 9, 3), 0.1, "centres")),
        Sample("infinite range", (_noise(1, 6, 9, 3, spread=1e38), _maps(1, 6, 9, 3), 1.0, "centres")),
    ]


def _strides() -> list[Sample]:
    planar, planes = _noise(2, 3, 6, 5, seed=5), _noise(2, 12, 6, 5, seed=6)
    maps = planes.permute(0, 2, 3, 1).unflatten(-1, (3, 2, 2))
    loose = _noise(1 + 2 * 4 * 5 * 3, seed=7)[1:].view(2, 4, 5, 3)
    return [
        Sample("packed", (*_packed(2, 9, 11, 10), 0.1, "corners")),
        Sample("permuted from NCHW", (planar.permute(0, 2, 3, 1), maps, 0.3, "centres")),
        Sample("misaligned", (loose, _maps(2, 4, 5, 3), 0.3, "corners")),
        Sample("expanded batch", (_noise(1, 4, 5, 3).expand(3, -1, -1, -1), _maps(3, 4, 5, 3), 0.3, "corners")),
        Sample("every second column", (_noise(2, 4, 10, 3)[:, :, ::2], _maps(2, 4, 10, 3)[:, :, ::2], 1.0, "corners")),
        Sample("rows from the bottom", (_noise(2, 4, 5, 3).transpose(1, 2), _maps(2, 5, 4, 3), 0.7, "centres")),
        Sample("transposed Jacobians", (_noise(1, 4, 5, 3), _maps(1, 4, 5, 3).transpose(-1, -2), 0.7, "centres")),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    flat, large = _noise(1, 58, 58, 10, spread=1e-4), _noise(1, 512, 512, 3, spread=0.02)
    several = _peaks(1, 20, 27, 3, 2.0)
    return [
        network(),
        Sample("broad hills", (_peaks(2, 58, 58, 10, 0.3), _maps(2, 58, 58, 10), 0.1, "centres"), tiny=False),
        Sample("nearly flat", (flat, _maps(1, 58, 58, 10), 0.1, "corners"), tiny=False),
        Sample("nearly flat, grid of whole numbers", (flat, _maps(1, 58, 58, 10), 0.3, "centres"), tiny=False),
        Sample("512x512, nearly flat", (large, _maps(1, 512, 512, 3), 0.1, "centres"), tiny=False),
        Sample("512x512, hills", (_peaks(1, 512, 512, 3, 1.0), _maps(1, 512, 512, 3), 0.1, "corners"), tiny=False),
        Sample("one long row", (_noise(1, 1, 3000, 2), _maps(1, 1, 3000, 2), 0.5, "corners"), tiny=False),
        Sample("several chunks", (several, _maps(1, 20, 27, 3), 0.1, "corners")),
        Sample("several chunks, wild", (_noise(1, 20, 27, 3, spread=20), _maps(1, 20, 27, 3), 0.1, "centres")),
        Sample("one pixel", (_noise(1, 1, 1, 2), _maps(1, 1, 1, 2), 0.1, "corners")),
        Sample("one keypoint, one column", (_noise(2, 7, 1, 1), _maps(2, 7, 1, 1), 0.1, "centres")),
        Sample("17 keypoints", (_noise(1, 3, 5, 17), _maps(1, 3, 5, 17), 0.4, "corners")),
        Sample("no pictures", (_noise(0, 4, 4, 3), _maps(0, 4, 4, 3), 0.1, "corners")),
        Sample("double", (_noise(1, 4, 5, 3).double(), _maps(1, 4, 5, 3).double(), 0.1, "corners")),
        *_strides(),
        *_odd_values(),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call with `channels` keypoints; 16-bit types, which are refused, become float32."""
    dtype = dtype if dtype == torch.float64 else torch.float32
    logits, maps = _noise(batch, height, width, channels, seed=seed), _maps(batch, height, width, channels)
    grid = "corners" if seed % 2 else "centres"
    return Sample(
        f"{batch}x{height}x{width}x{channels} {dtype}", (logits.to(dtype), maps.to(dtype), 0.1 + seed / 50, grid)
    )


def network() -> Sample:
    """Ten keypoints of one frame, their maps packed as one convolution writes them."""
    logits, maps = _packed(1, 58, 58, 10)
    logits.copy_(_peaks(1, 58, 58, 10, 3.0))
    maps.copy_(_maps(1, 58, 58, 10))
    return Sample("1x58x58x10", (logits, maps, 0.1, "corners"), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    logits, maps = _noise(1, 4, 5, 3), _maps(1, 4, 5, 3)
    return [
        Refusal("rank 3", (logits[0], maps[0], 0.1, "corners"), ShapeError, "[B, H, W, K]"),
        Refusal("one keypoint short", (logits, maps[:, :, :, :2], 0.1, "corners"), ShapeError, "[1, 4, 5, 2, 2, 2]"),
        Refusal("no pixels", (logits[:, :0], maps[:, :0], 0.1, "corners"), ShapeError, "at least one pixel"),
        Refusal("half", (logits.half(), maps.half(), 0.1, "corners"), DtypeError, "float16"),
        Refusal("bfloat16", (logits.bfloat16(), maps, 0.1, "corners"), DtypeError, "Keypoints and flow need float32"),
        Refusal("mixed", (logits, maps.double(), 0.1, "corners"), DtypeError, "float64"),
        Refusal("no temperature", (logits, maps, 0.0, "corners"), OptionError, "temperature is 0.0"),
        Refusal("hardly a temperature", (logits, maps, 1e-39, "corners"), OptionError, "temperature is 1e-39"),
        Refusal("grid", (logits, maps, 0.1, "middle"), OptionError, "middle"),
    ]
