"""Calls of dense_motion: the network's shapes first, then everything that has broken a softmax or a grid before."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's source, numbered from 1; csrc/dense_motion/dense_motion.h has the same order.
MUTANTS = (
    "maximum not subtracted",
    "background not counted",
    "identity not subtracted",
    "matrix transposed",
    "x and y of the pixel swapped",
    "other pixel grid",
    "motions shifted by one",
    "last motion forgotten",
    "affine of the first batch",
    "logits taken for packed",
    "sigmoid reversed",
    "offset forgotten",
    "last pixel missed",
    "one flow beyond the end",
)


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _affine(seed: int, batch: int, moving: int, spread: float = 0.3) -> Tensor:
    """Maps near the identity."""
    still = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return still + spread * _noise(seed, batch, moving, 2, 3)


def _call(
    seed: int, batch: int, height: int, width: int, moving: int, spread: float = 3.0, **more: Any
) -> tuple[Any, ...]:
    """A packed call, as the network's joint head makes it: the logits of the masks, then that of the occlusion."""
    packed = spread * _noise(seed, batch, height, width, moving + 2)
    affine = _affine(seed + 1, batch, moving, more.get("motion", 0.3))
    return packed[..., :-1], packed[..., -1], affine, more.get("grid", "corners")


def samples() -> list[Sample]:
    """Calls that must work."""
    cases = [*_ordinary(), *_strided(), *_not_numbers()]
    large = [("network", _call(1, 1, 64, 64, 10, motion=0.02, grid="centres")), ("512x512", _call(3, 1, 512, 512, 10))]
    return [*(Sample(*case, tiny=False) for case in large), *(Sample(*case) for case in cases)]


def _ordinary() -> list[tuple[str, tuple[Any, ...]]]:
    nothing_moves = torch.eye(2, 3).expand(1, 4, 2, 3)
    logits, hidden, _, _ = _call(5, 1, 4, 5, 4)
    double = [x.double() if isinstance(x, Tensor) else x for x in _call(7, 2, 3, 4, 3)]
    return [
        ("corners", _call(9, 2, 5, 7, 10)),
        ("centres", _call(11, 2, 6, 11, 10, grid="centres")),
        ("certain", _call(13, 2, 3, 5, 10, spread=90.0)),
        ("nothing moves", (logits, hidden, nothing_moves, "corners")),
        ("double", tuple(double)),
        ("one pixel", _call(15, 3, 1, 1, 2)),
        ("one pixel, centres", _call(15, 3, 1, 1, 2, grid="centres")),
        ("one row", _call(17, 1, 1, 33, 1)),
        ("one column", _call(19, 1, 17, 1, 3, grid="centres")),
        ("16 pixels exactly", _call(21, 1, 2, 16, 15)),
        ("40 motions", _call(23, 1, 3, 6, 40)),
        ("64 motions", _call(25, 1, 2, 5, 64)),
        ("65 motions", _call(25, 1, 2, 5, 65)),
        ("no pictures", _call(27, 0, 4, 4, 3)),
        ("no pixels", _call(27, 1, 0, 4, 3)),
        ("far away", _call(29, 1, 3, 4, 5, motion=1e30)),
    ]


def _strided() -> list[tuple[str, tuple[Any, ...]]]:
    hidden, affine = _noise(31, 2, 5, 18), _affine(32, 2, 4)
    whole = _noise(33, 1 + 2 * 5 * 18 * 5)[1:].view(2, 5, 18, 5)
    return [
        ("permuted from NCHW", (_noise(34, 2, 5, 5, 18).permute(0, 2, 3, 1), hidden, affine, "corners")),
        ("misaligned", (whole, hidden, affine, "centres")),
        ("columns and rows reversed", (_noise(35, 2, 18, 5, 5).transpose(1, 2), hidden, affine, "corners")),
        ("every second column", (_noise(36, 2, 5, 36, 5)[:, :, ::2], hidden, affine, "centres")),
        ("expanded", (whole[:1, :, :1].expand(2, -1, 18, -1), hidden[:1].expand(2, -1, -1), affine, "corners")),
        ("affine permuted", (whole, hidden, affine.transpose(0, 1).contiguous().transpose(0, 1), "corners")),
        ("affine expanded", (whole, hidden, affine[:1].expand(2, -1, -1, -1), "corners")),
    ]


def _not_numbers() -> list[tuple[str, tuple[Any, ...]]]:
    logits, hidden, affine, grid = _call(37, 1, 4, 6, 3)
    logits, hidden, odd = logits.clone(), hidden.clone(), affine.clone()
    logits[0, 0, 0, 1], logits[0, 0, 2, 0], logits[0, 1, 1] = math.nan, math.inf, -math.inf
    logits[0, 2, 2, 2], logits[0, 2, 3, :3], logits[0, 3, 5, 1] = -math.inf, -math.inf, 3e38
    hidden[0, 0, :4] = torch.tensor([math.nan, math.inf, -math.inf, 200.0])
    hidden[0, 1, :4] = torch.tensor([-200.0, -88.0, 88.0, 3e38])
    odd[0, 1, 0, 2], odd[0, 2, 1, 1] = math.inf, math.nan
    return [
        ("not numbers", (logits, hidden, affine, grid)),
        ("motions that are none", (_call(37, 1, 4, 6, 3)[0], hidden, odd, grid)),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call of the given size with up to 40 motions; 16-bit types, which are refused, become float32."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    moving = (channels - 1) % 40 + 1
    *tensors, grid = _call(seed, batch, height, width, moving, grid=("corners", "centres")[seed % 2])
    args = (*(x.to(wide) for x in tensors), grid)
    return Sample(f"{batch}x{height}x{width}, {moving} motions, {wide}", args)


def network() -> Sample:
    """The motions of one frame."""
    return samples()[0]


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    logits, hidden, affine, grid = _call(39, 2, 3, 4, 5)
    calls = [
        ("half", (logits.half(), hidden.half(), affine.half(), grid), DtypeError, "float16"),
        ("bfloat16 logits", (logits.bfloat16(), hidden, affine, grid), DtypeError, "need float32"),
        ("two types", (logits, hidden.double(), affine, grid), DtypeError, "occlusion_logits"),
        ("rank 3", (logits[0], hidden, affine, grid), ShapeError, "mask_logits"),
        ("affine of rank 3", (logits, hidden, affine[0], grid), ShapeError, "affine"),
        ("occlusion with a channel", (logits, hidden[..., None], affine, grid), ShapeError, "occlusion_logits"),
        ("a motion for the background", (logits, hidden, _affine(40, 2, 6), grid), ShapeError, "background"),
        ("background alone", (logits[..., :1], hidden, affine[:, :0], grid), ShapeError, "affine"),
        ("another batch", (logits, hidden, affine[:1], grid), ShapeError, "[2, K, 2, 3]"),
        ("another grid", (logits, hidden, affine, "edges"), OptionError, "edges"),
    ]
    return [Refusal(*call) for call in calls]
