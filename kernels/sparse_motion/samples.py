"""Calls of sparse_motion: the network's thumbnail, rest, both grids, both alignments, far outside, NaN and infinity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/sparse_motion/sparse_motion.h has the same order.
MUTANTS = (
    "x and y of a keypoint swapped",
    "heatmap reversed",
    "half of the exponent forgotten",
    "matrix transposed",
    "offset forgotten",
    "the other alignment of corners",
    "the other pixel grid",
    "a sample that is not finite is inside",
    "border repeated",
    "background has a heatmap",
    "batch stride ignored",
    "last row dropped",
    "one element beyond the end",
)


def _noise(*shape: int, seed: int = 1, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


def _motion(batch: int, count: int, spread: float, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Target and driving keypoints `spread` apart, and affine maps that far from the identity."""
    target = _noise(batch, count, 2, seed=seed, spread=0.4)
    driving = target + _noise(batch, count, 2, seed=seed + 1, spread=spread)
    affine = torch.eye(2, 3) + _noise(batch, count, 2, 3, seed=seed + 2, spread=spread)
    return target, driving, affine


def _smooth(height: int, width: int) -> Tensor:
    """A soft thumbnail."""
    y, x = torch.linspace(0, 3, height)[:, None, None], torch.linspace(0, 4, width)[:, None]
    return (torch.sin(x + y + torch.tensor([0.0, 1.0, 2.0])) * 0.4 + 0.5)[None]


def _call(name: str, size: tuple[int, int, int], count: int, spread: float, *options: Any, tiny: bool = True) -> Sample:
    thumbnail = _noise(*size, 3, seed=9).abs()
    return Sample(name, (thumbnail, *_motion(size[0], count, spread), *(options or (0.05, "corners", False))), tiny)


def _odd_motions() -> list[Sample]:
    target, driving, affine = _motion(1, 8, 0.1)
    values = [float("nan"), float("inf"), -float("inf"), 1e6, -1e30, 1e30, 100.0]
    for k, value in enumerate(values):
        affine[0, k, k % 2, 2 if k > 2 else k] = value
    lost, nowhere = target.clone(), driving.clone()
    lost[0, 0, 0], lost[0, 1, 1], nowhere[0, 2, 0], nowhere[0, 3, 1] = (*values[:3], 1e30)
    edges = torch.eye(2, 3).expand(1, 4, 2, 3).clone()
    edges[0, :, :, :2] = 0
    edges[0, :, :, 2] = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]])
    holes = _noise(1, 4, 5, 3)
    holes[0, 1, 2, 0], holes[0, 3, 4, 1] = float("nan"), float("inf")
    apart = torch.tensor([[0.5, 0.01, 0.117], [-0.02, 0.45, -0.081]]).expand(1, 8, 2, 3)
    picture = _noise(1, 4, 5, 3, seed=4)
    cases = [
        Sample("a hole in the thumbnail", (holes, target[:, :1], driving[:, :1], apart[:, :1], 0.1, "centres", False)),
        Sample("keypoints not finite", (picture, lost[:, :5], nowhere[:, :5], apart[:, :5], 0.1, "corners", False)),
    ]
    for aligned in (False, True):
        tail = (0.1, "corners", aligned)
        cases += [
            Sample(f"motions not finite or far, {aligned}", (picture, target, driving, affine, *tail)),
            Sample(f"exactly at the edges, {aligned}", (picture, target[:, :4], driving[:, :4], edges, *tail)),
            Sample(f"one pixel, far, {aligned}", (picture[:, :1, :1], target, driving, affine, *tail)),
        ]
    return cases


def _strides() -> list[Sample]:
    target, driving, affine = _motion(2, 2, 0.2)
    tail = (0.05, "corners", False)
    loose, packed = _noise(1 + 2 * 4 * 5 * 3)[1:].view(2, 4, 5, 3), _noise(2, 2, 8, seed=6, spread=0.3)
    turned = affine.transpose(-1, -2).contiguous().transpose(-1, -2)
    planes = _noise(2, 3, 4, 5).permute(0, 2, 3, 1)
    return [
        Sample("permuted from NCHW", (planes, target, driving, affine, *tail)),
        Sample("misaligned", (loose, target, driving, affine, *tail)),
        Sample("every second column", (_noise(2, 4, 10, 3)[:, :, ::2], target, driving, affine, *tail)),
        Sample("expanded target", (_noise(1, 4, 5, 3).expand(2, -1, -1, -1), target, driving, affine, *tail)),
        Sample("packed keypoints", (planes, packed[..., :2], packed[..., 3:5], turned, *tail)),
    ]


def samples() -> list[Sample]:
    """Calls that must work."""
    target, _, affine = _motion(2, 2, 0.0)
    cases = [network()]
    for grid in ("corners", "centres"):
        for aligned in (False, True):
            options = (0.05, grid, aligned)
            rest = (_noise(2, 5, 6, 3).abs(), target, target.clone(), affine, *options)
            cases += [
                _call(f"{grid}, {aligned}", (2, 5, 6), 3, 0.3, *options),
                _call(f"64x64, {grid}, {aligned}", (1, 64, 64), 10, 0.1, *options, tiny=False),
            ]
        cases.append(Sample(f"at rest, {grid}", rest))
    return [
        *cases,
        _call("512x512", (1, 512, 512), 1, 0.05, 0.01, "centres", False, tiny=False),
        _call("one pixel", (1, 1, 1), 2, 0.3),
        _call("one column", (1, 7, 1), 2, 0.3, 0.1, "centres", True),
        _call("37 columns", (1, 3, 37), 2, 0.3),
        _call("no pictures", (0, 3, 4), 2, 0.3),
        _call("narrow Gaussians", (1, 5, 6), 3, 0.3, 1e-4, "corners", False),
        Sample("double", tuple(x.double() if isinstance(x, Tensor) else x for x in cases[1].args)),
        *_odd_motions(),
        *_strides(),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call with `channels` keypoints; 16-bit types, which are refused, become float32."""
    dtype = dtype if dtype == torch.float64 else torch.float32
    thumbnail = _noise(batch, height, width, 3, seed=seed).to(dtype)
    motion = (x.to(dtype) for x in _motion(batch, channels, 0.2, seed))
    options = (0.01 + seed / 100, "corners" if seed % 2 else "centres", seed % 3 == 0)
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", (thumbnail, *motion, *options))


def network() -> Sample:
    """Ten keypoints of one frame, moved by little."""
    return Sample("1x64x64, 10 keypoints", (_smooth(64, 64), *_motion(1, 10, 0.02), 0.01, "corners", False), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    picture, (target, driving, affine) = _noise(1, 4, 5, 3), _motion(1, 3, 0.1)
    tail = (0.1, "corners", False)
    halves = tuple(x.half() for x in (picture, target, driving, affine))
    return [
        Refusal("rank 3", (picture[0], target, driving, affine, *tail), ShapeError, "[B, H, W, C]"),
        Refusal("grey", (picture[..., :1], target, driving, affine, *tail), ShapeError, "[1, 4, 5, 1]"),
        Refusal("no pixels", (picture[:, :0], target, driving, affine, *tail), ShapeError, "at least one pixel"),
        Refusal(
            "no keypoints", (picture, target[:, :0], driving[:, :0], affine[:, :0], *tail), ShapeError, "one keypoint"
        ),
        Refusal("a keypoint short", (picture, target, driving[:, :2], affine, *tail), ShapeError, "kp_driving"),
        Refusal(
            "two pictures", (picture.expand(2, -1, -1, -1), target, driving, affine, *tail), ShapeError, "kp_target"
        ),
        Refusal("2x2", (picture, target, driving, affine[..., :2], *tail), ShapeError, "[1, 3, 2, 2]"),
        Refusal("half", (*halves, *tail), DtypeError, "Keypoints and flow need float32"),
        Refusal("mixed", (picture, target, driving, affine.double(), *tail), DtypeError, "float64"),
        Refusal("variance", (picture, target, driving, affine, -0.1, "corners", False), OptionError, "-0.1"),
        Refusal("grid", (picture, target, driving, affine, 0.1, "middle", False), OptionError, "middle"),
    ]
