"""Calls of compose: one frame, every part left out, both grids, flows that leave the picture, and what is no number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, InputError, OptionError, ShapeError
from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in the room's source, numbered from 1; csrc/compose/compose.h has the same order.
MUTANTS = (
    "cut off instead of rounded",
    "256 levels",
    "logits taken for levels",
    "x and y of the flow exchanged",
    "occlusion of the nearest cell",
    "occlusion reversed",
    "grain dropped",
    "softer kernel",
    "border wraps around",
    "other pixel grid",
    "align_corners reversed",
    "picture of the first",
    "last pixel missed",
    "one byte beyond the end",
)

_Args = tuple[Any, ...]


def _call(
    seed: int,
    *sizes: int,
    grid: PixelGrid = "centres",
    corners: bool = False,
    spread: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> _Args:
    """Arguments of sizes B, h, w and how many pixels a cell is high and wide; `spread`: of the flow, around rest."""
    batch, rows, columns, high, wide = sizes
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    picture = (batch, rows * high, columns * wide, 3)
    logits, grain = 2 * noise(*picture[1:]), 0.02 * noise(*picture[1:])
    target = torch.rand(picture, generator=generator)
    flow = identity_grid(rows, columns, grid, dtype=torch.float32) + spread * noise(rows, columns, 2)
    tensors = (logits, target, grain, flow, torch.sigmoid(2 * noise(rows, columns)))
    return (*(x.to(dtype) for x in tensors), grid, corners)


def _without(args: _Args, *names: str) -> _Args:
    places = [("logits", "picture", "grain").index(name) for name in names]
    return tuple(None if i in places else value for i, value in enumerate(args))


def samples() -> list[Sample]:
    """Calls that must work."""
    large = [("512x512", _call(3, 1, 128, 128, 4, 4)), ("256x256, no flow at all", _still())]
    return [
        network(),
        *(Sample(*case, tiny=False) for case in large),
        *(Sample(*case) for case in [*_ordinary(), *_strided(), *_not_numbers()]),
    ]


def _ordinary() -> list[tuple[str, _Args]]:
    return [
        ("centres", _call(5, 2, 4, 5, 4, 4)),
        ("corners", _call(7, 2, 4, 5, 4, 4, grid="corners")),
        ("centres, aligned", _call(9, 1, 4, 6, 4, 4, corners=True)),
        ("corners, aligned", _call(11, 1, 4, 6, 4, 4, grid="corners", corners=True)),
        ("no grain", _without(_call(13, 2, 4, 4, 4, 4), "grain")),
        ("sigmoid alone", _without(_call(15, 2, 4, 4, 4, 4), "picture", "grain")),
        ("out of the picture", _call(17, 1, 8, 8, 2, 2, spread=2.0)),
        ("far out of the picture", _call(19, 1, 4, 4, 2, 2, spread=1e6)),
        ("a cell is a pixel", _call(21, 1, 9, 11, 1, 1)),
        ("cells of 3 x 5 pixels", _call(23, 1, 5, 3, 3, 5)),
        ("one cell", _call(25, 1, 1, 1, 7, 9)),
        ("one pixel", _call(27, 3, 1, 1, 1, 1)),
        ("one pixel, corners, aligned", _call(27, 3, 1, 1, 1, 1, grid="corners", corners=True)),
        ("one row", _call(29, 1, 1, 20, 1, 2)),
        ("one column", _call(31, 1, 20, 1, 2, 1)),
        ("wider than a span", _call(33, 1, 1, 75, 2, 4)),
        ("no pictures", _call(35, 0, 2, 2, 2, 2)),
        ("double", _call(37, 1, 3, 4, 2, 2, dtype=torch.float64)),
    ]


def _strided() -> list[tuple[str, _Args]]:
    logits, picture, grain, flow, occlusion, grid, corners = _call(39, 2, 3, 4, 4, 4)
    planes = [x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for x in (logits, picture, grain, flow)]
    loose = torch.empty(1 + logits.numel())[1:].view(logits.shape).copy_(logits)
    one = [x[:1].expand(2, *x.shape[1:]) for x in (logits, picture, grain, flow, occlusion)]
    return [
        ("permuted from NCHW", (*planes, occlusion, grid, corners)),
        ("misaligned", (loose, picture, grain, flow, occlusion, grid, corners)),
        ("expanded batch", (*one, grid, corners)),
    ]


def _still() -> _Args:
    logits, picture, grain, flow, occlusion, *options = _call(41, 1, 64, 64, 4, 4, spread=0.0)
    return (logits, picture, None, flow, torch.ones_like(occlusion), *options)


def _not_numbers() -> list[tuple[str, _Args]]:
    logits, picture, grain, flow, occlusion, *options = _call(43, 1, 4, 6, 4, 4)
    logits[0, 0, :3, 0] = torch.tensor([math.nan, math.inf, -math.inf])
    logits[0, 1, :4, 1] = torch.tensor([-200.0, 200.0, 3e38, -3e38])
    picture[0, 5, 5, 1], grain[0, 7, 7, 2], grain[0, 9, 9, 0] = math.nan, math.nan, math.inf
    occlusion[0, 3, 4] = math.nan
    odd = flow.clone()
    odd[0, 0, 0, 0], odd[0, 2, 3, 1], odd[0, 3, 1, 0] = math.nan, math.inf, -math.inf
    sound = _call(43, 1, 4, 6, 4, 4)
    return [
        ("not numbers", (logits, picture, grain, flow, occlusion, *options)),
        ("logits that are none, alone", (logits, None, None, flow, occlusion, *options)),
        ("flow that is none", (*sound[:3], odd, *sound[4:])),
    ]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call with a flow of the given size or less; 16-bit types, which are refused, become float32."""
    high, wide = 1 + seed % 4, 1 + channels % 4
    sizes = (batch, -(-height // high), -(-width // wide), high, wide)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    grids: tuple[PixelGrid, PixelGrid] = ("corners", "centres")
    args = _call(seed, *sizes, grid=grids[seed % 2], corners=seed % 3 == 0, dtype=wanted)
    left_out = [(), (), ("grain",), ("picture", "grain")][seed % 5 % 4]
    return Sample(f"{sizes} {wanted}, without {left_out}", _without(args, *left_out))


def network() -> Sample:
    """One frame of our own presets: 256x256 from a 64x64 flow, with grain."""
    return Sample("256x256", _call(1, 1, 64, 64, 4, 4, spread=0.02), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""
    logits, picture, grain, flow, occlusion, grid, corners = _call(45, 1, 2, 3, 2, 2)
    rest = (flow, occlusion, grid, corners)
    doubled = torch.cat([logits, logits], dim=3)
    calls = [
        ("rank 3", (logits[0], picture, grain, *rest), ShapeError, "logits"),
        ("six channels", (doubled, doubled, doubled, *rest), ShapeError, "[1, 4, 6, 6]"),
        ("half", (logits.half(), picture, grain, *rest), DtypeError, "float16"),
        ("two types", (logits, picture.double(), grain, *rest), DtypeError, "picture"),
        ("smaller picture", (logits, picture[:, :2], grain, *rest), ShapeError, "picture"),
        ("grain alone", (logits, None, grain, *rest), InputError, "grain"),
        ("grain of another size", (logits, picture, grain[:, :, :2], *rest), ShapeError, "grain"),
        ("no multiple", (logits, picture, grain, flow.repeat(1, 2, 1, 1)[:, :3], *rest[1:]), ShapeError, "divide 4"),
        ("no cells", (logits, picture, grain, flow[:, :0], occlusion[:, :0], *rest[2:]), ShapeError, "[1, 0, 3, 2]"),
        ("another batch", (logits, picture, grain, flow.repeat(2, 1, 1, 1), *rest[1:]), ShapeError, "[2, 2, 3, 2]"),
        (
            "occlusion with a channel",
            (logits, picture, grain, flow, occlusion[..., None], *rest[2:]),
            ShapeError,
            "occl",
        ),
        ("another grid", (logits, picture, grain, flow, occlusion, "edges", corners), OptionError, "edges"),
    ]
    return [Refusal(*call) for call in calls]
