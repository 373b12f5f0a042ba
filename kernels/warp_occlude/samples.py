"""Calls of warp_occlude: the network's shapes first, then everything that has broken a sampler before."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/warp_occlude/warp_occlude.h has the same order.
MUTANTS = (
    "x and y swapped",
    "align_corners flipped",
    "truncated, not floored",
    "border repeated",
    "not a number sampled in the centre",
    "outside times zero",
    "shares reversed",
    "occlusion twice",
    "occlusion forgotten",
    "features of the first batch",
    "last channel forgotten",
    "last pixel forgotten",
    "one pixel beyond the end",
)

_HALVES = (torch.float16, torch.bfloat16)


def _noise(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _flow(seed: int, batch: int, height: int, width: int, reach: float = 1.3) -> Tensor:
    noise = torch.rand(batch, height, width, 2, generator=torch.Generator().manual_seed(seed))
    return (2 * noise - 1) * reach


def smooth_flow(batch: int, size: int, shift: float = 0.02) -> Tensor:
    """A slight turn and shift of the whole picture: what a head does between frames."""
    z = identity_grid(size, size, "centres", dtype=torch.float32)
    turned = torch.stack([z[..., 1], -z[..., 0]], dim=-1)
    return (z + shift * turned + shift / 2).expand(batch, -1, -1, -1).contiguous()


def _all_at_once(dtype: torch.dtype, channels: int) -> tuple[Any, ...]:
    """A batch on which every planted fault shows: samples inside, on the border, outside and nowhere."""
    features = _noise(1, 2, 5, 7, channels, dtype=dtype)
    features[:, 0, 0], features[1, 4, 6, 0] = math.nan, math.inf
    flow = _flow(2, 2, 6, 5)
    flow[0, 0, 0], flow[1, 2, 1, 1], flow[0, 3, 2, 0] = math.nan, math.inf, -math.inf
    flow[0, 1, :, :], flow[1, 5, 4] = torch.tensor([-0.93, -0.1]), torch.tensor([0.11, 0.23])
    flow[0, 2, 0], flow[0, 2, 1] = torch.tensor([-3.0, -3.0]), torch.tensor([1e6, 1e30])
    return features, flow, 0.2 + 0.6 * torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(3)), False


def _not_numbers() -> tuple[Any, ...]:
    """Taps that weigh nothing, beside pixels that are not numbers; and occlusions that are none."""
    features = _noise(4, 1, 4, 4, 3)
    features[0, 1, 1], features[0, 2, 3, 1] = math.nan, math.inf
    flow = identity_grid(4, 4, "centres", dtype=torch.float32)[None].clone()
    occlusion = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(5))
    occlusion[0, 0, 2], occlusion[0, 3, 0], occlusion[0, 3, 3], occlusion[0, 0, 3] = math.nan, math.inf, -7.0, 0.0
    flow[0, 3, 1], occlusion[0, 3, 1] = 3.0, math.nan
    return features, flow, occlusion, False


def _far() -> Tensor:
    ends = torch.tensor([-1.0, 1.0, 1e6, -1e6, 1e30, -3e38, math.nan, math.inf, -math.inf, 0.5])
    return torch.stack(torch.meshgrid(ends, ends, indexing="xy"), dim=-1)[None]


def samples() -> list[Sample]:
    """Calls that must work."""
    cases = [
        *((f"all at once, {dtype}, {c} channels", _all_at_once(dtype, c)) for dtype in (torch.float32, *_HALVES)
          for c in (3, 37)),
        ("double", _all_at_once(torch.float64, 3)),
        ("taps that weigh nothing", _not_numbers()),
        *_strided(),
        *_odd(),
    ]  # fmt: skip
    return [*_large(), *(Sample(name, args) for name, args in cases)]


def _large() -> list[Sample]:
    features, flow = _noise(6, 1, 64, 64, 256), smooth_flow(1, 64)
    occlusion = torch.sigmoid(_noise(7, 1, 64, 64))
    cases = [
        ("network", (features, flow, occlusion, False)),
        ("network, float16", (features.half(), flow, occlusion, True)),
        ("network, bfloat16", (features.bfloat16(), flow, occlusion, False)),
        ("edge map", (features[..., :1], flow, None, False)),
        ("512x512", (_noise(8, 1, 512, 512, 9), _flow(9, 1, 512, 512), None, True)),
    ]
    return [Sample(name, args, tiny=False) for name, args in cases]


def _strided() -> list[tuple[str, tuple[Any, ...]]]:
    flow, occlusion = _flow(10, 2, 3, 4), torch.sigmoid(_noise(11, 2, 3, 4))
    misaligned = _noise(12, 1 + 2 * 4 * 4 * 8, dtype=torch.float16)[1:].view(2, 4, 4, 8)
    return [
        ("permuted from NCHW", (_noise(13, 2, 5, 4, 6).permute(0, 2, 3, 1), flow, occlusion, True)),
        ("every second column", (_noise(14, 2, 4, 12, 5)[:, :, ::2], flow, occlusion, False)),
        ("columns reversed", (_noise(15, 2, 4, 6, 16).transpose(1, 2), flow, occlusion, False)),
        ("expanded batch", (_noise(16, 1, 4, 4, 3).expand(2, -1, -1, -1), flow[:1].expand(2, -1, -1, -1), None, False)),
        ("misaligned", (misaligned, flow, occlusion, True)),
        ("some of the channels", (_noise(17, 2, 4, 5, 24)[..., 3:19], flow, occlusion, False)),
        ("flow from NCHW", (_noise(18, 2, 4, 4, 8), _noise(19, 2, 2, 3, 4).permute(0, 2, 3, 1), occlusion, False)),
        ("occlusion of a packed map", (_noise(20, 2, 4, 4, 4), flow, _noise(21, 2, 3, 4, 12)[..., 11], False)),
    ]


def _odd() -> list[tuple[str, tuple[Any, ...]]]:
    return [
        ("one pixel", (_noise(22, 1, 1, 1, 2), _far(), None, True)),
        ("one pixel, its edges outside", (_noise(22, 1, 1, 1, 2), _far(), None, False)),
        ("one row", (_noise(23, 1, 1, 6, 1), _flow(24, 1, 1, 5), None, True)),
        ("far outside", (_noise(25, 1, 4, 3, 2), _far(), None, False)),
        ("far outside, corners", (_noise(26, 1, 4, 3, 2, dtype=torch.bfloat16), _far(), None, True)),
        ("large numbers", (1e38 * _noise(27, 1, 4, 4, 2).clamp(-2, 2), _flow(28, 1, 3, 3), torch.ones(1, 3, 3), False)),
        ("no pictures", (_noise(29, 0, 4, 4, 3), _flow(30, 0, 2, 2), torch.ones(0, 2, 2), False)),
        ("no pixels asked for", (_noise(31, 1, 4, 4, 3), _flow(32, 1, 0, 2), None, False)),
        ("1025 channels", (_noise(33, 1, 2, 2, 1025), _flow(34, 1, 1, 2, reach=0.4), None, False)),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size, its channels permuted from the front for odd seeds."""
    other = torch.float64 if dtype == torch.float64 else torch.float32
    features = _noise(seed, batch, channels, height, width, dtype=dtype).permute(0, 2, 3, 1)
    if seed % 2 == 0:
        features = features.contiguous()
    occlusion = None if seed % 3 == 0 else torch.sigmoid(_noise(seed + 2, batch, height, width, dtype=other))
    args = (features, _flow(seed + 1, batch, height, width).to(other), occlusion, seed % 5 < 2)
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", args)


def network() -> Sample:
    """The features of one frame, under a small motion."""
    return _large()[0]


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    features, flow, occlusion = _noise(35, 2, 4, 4, 3), _flow(36, 2, 3, 3), torch.ones(2, 3, 3)
    calls = [
        ("rank 3", (features[0], flow, None, False), ShapeError, "[B, H, W, C]"),
        ("integer features", (features.int(), flow, None, False), DtypeError, "int32"),
        ("flow of rank 3", (features, flow[0], None, False), ShapeError, "flow"),
        ("half flow", (features.half(), flow.half(), None, False), DtypeError, "flow"),
        ("double flow", (features, flow.double(), None, False), DtypeError, "flow"),
        ("flow of another batch", (features, flow[:1], None, False), ShapeError, "[2, h, w, 2]"),
        ("flow with three coordinates", (features, torch.ones(2, 3, 3, 3), None, False), ShapeError, "[2, h, w, 2]"),
        ("half occlusion", (features, flow, occlusion.half(), False), DtypeError, "occlusion"),
        ("occlusion with a channel", (features, flow, occlusion[..., None], False), ShapeError, "occlusion"),
        ("occlusion of another size", (features, flow, occlusion[:, :2], False), ShapeError, "[2, 3, 3]"),
        ("no pixel to sample", (features[:, :0], flow, None, False), ShapeError, "pixel"),
    ]
    return [Refusal(*call) for call in calls]
