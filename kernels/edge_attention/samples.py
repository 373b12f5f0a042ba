"""Calls of edge_attention: the real network's first, then everything that has broken a kernel before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.registry import Refusal, Sample

# The faults planted in every room's code, numbered from 1; csrc/edge_attention/edge_attention.h has the same order.
MUTANTS = (
    "x and y of the flow swapped",
    "the other align_corners",
    "last tap dropped",
    "a NaN coordinate counts as the centre",
    "occlusion on the edge too",
    "biases before the occlusion",
    "scores divided by the root of their length",
    "largest score not subtracted",
    "last key missing in the normaliser",
    "last position missing in the sum",
    "residual without occlusion",
    "batch stride ignored",
    "last channel dropped",
    "one element beyond the end",
)

HALF, BRAIN, FULL, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
_MODES = ("released", "edge-query")


class _Noise:
    """Seeded noise of any shape."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)


def _flow(noise: _Noise, batch: int, h: int, w: int, motion: float) -> Tensor:
    """The grid at rest, moved smoothly by about `motion` pixels of 64."""
    slow = torch.nn.functional.interpolate(noise(batch, 2, 4, 4), (h, w), mode="bilinear", align_corners=True)
    return identity_grid(h, w, "centres", dtype=FULL) + slow.permute(0, 2, 3, 1) * (motion / 32)


def _call(
    mode: str,
    dtype: torch.dtype = FULL,
    *,
    maps: tuple[int, int, int] = (1, 4, 5),
    onto: tuple[int, int] = (4, 5),
    sizes: tuple[int, int] = (6, 7),
    strip_rows: int = 2,
    align_corners: bool = False,
    scale: float = 0.7,
    motion: float = 4.0,
    seed: int = 1,
) -> list[Any]:
    """Arguments for maps of `(batch, H, W)`, gathered onto `(h, w)`, with `sizes` = (D, C)."""
    noise = _Noise(seed)
    (batch, height, width), (dim, channels) = maps, sizes
    query, key = (scale * noise(batch, height, width, dim) for _ in range(2))
    value, features = (noise(batch, height, width, channels) for _ in range(2))
    edge, occlusion = torch.sigmoid(noise(batch, height, width)), torch.sigmoid(noise(batch, *onto))
    vectors = [scale * noise(dim), scale * noise(dim), scale * noise(dim), noise(channels), torch.full((1,), 1.5)]
    wide = DOUBLE if dtype == DOUBLE else FULL
    given = [x.to(dtype) for x in (query, key, value, features)]
    given += [x.to(wide) for x in (edge, _flow(noise, batch, *onto, motion), occlusion, *vectors)]
    first = given[0] if mode == "released" else None
    return [first, *given[1:], strip_rows, mode, align_corners]


def _strange_places(args: list[Any]) -> list[Any]:
    """Flow on the very edge, far outside, and not finite at all."""
    flow = args[5]
    places = [(-1.0, 1.0), (1.0, -1.0), (1e6, 0.0), (0.0, -1e30), (float("nan"), 0.1), (0.2, float("inf"))]
    for i, place in enumerate(places[: flow.shape[2]]):
        flow[:, i % flow.shape[1], i] = torch.tensor(place, dtype=flow.dtype)
    return args


def _rich(mode: str, dtype: torch.dtype, align_corners: bool) -> tuple[Any, ...]:
    """Small, and nothing in it is special: where most faults show."""
    args = _call(mode, dtype, maps=(2, 5, 7), onto=(4, 6), align_corners=align_corners, seed=3)
    return tuple(_strange_places(args))


def _large_scores(mode: str, dtype: torch.dtype) -> tuple[Any, ...]:
    """Scores beyond what exp can take."""
    # Of few results the largest error is a matter of luck.
    return tuple(_call(mode, dtype, onto=(6, 8), strip_rows=2, scale=9.0, seed=8))


def _large_values(mode: str, dtype: torch.dtype) -> tuple[Any, ...]:
    """Values whose mean is a number and whose sum is not."""
    args = _call(mode, dtype, maps=(1, 4, 8), onto=(4, 8), strip_rows=4, motion=0.0, seed=15)
    args[2] = torch.full_like(args[2], 1e38)
    return tuple(args)


def _not_numbers(mode: str) -> tuple[Any, ...]:
    """NaN in one strip's keys, NaN and infinity in single channels; every tap's share is far from 0."""
    args = _call(mode, maps=(1, 4, 4), onto=(4, 4), sizes=(4, 5), seed=7, motion=0.0)
    args[5] += torch.tensor([0.1, 0.07])
    args[1][0, 0, 1, 2] = float("nan")
    args[2][0, 2, 1, 0] = float("nan")
    args[2][0, 2, 2, 1] = float("inf")
    args[3][0, 3, 3, 2] = float("-inf")
    return tuple(args)


def _one_pixel_from_afar() -> tuple[Any, ...]:
    """With align_corners a map of one pixel has no outside, but for what is not finite."""
    args = _call("edge-query", maps=(1, 1, 1), onto=(1, 3), sizes=(2, 3), strip_rows=1, align_corners=True, seed=9)
    args[5][0, 0] = torch.tensor([[1e6, -3.0], [0.5, 0.5], [float("-inf"), 0.0]])
    return tuple(args)


def _foreign_strides() -> list[tuple[str, tuple[Any, ...]]]:
    """The same call from memory in other orders."""
    permuted = _call("released", maps=(2, 4, 5), strip_rows=4, seed=11)
    for i in range(4):
        permuted[i] = permuted[i].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    expanded = _call("released", maps=(2, 4, 5), strip_rows=4, seed=12)
    for i in (*range(4), 4, 5, 6):
        expanded[i] = expanded[i][:1].expand(2, *expanded[i].shape[1:])
    columns = _call("edge-query", maps=(1, 4, 10), seed=13)
    for i in range(1, 5):
        columns[i] = columns[i][:, :, ::2]
    columns[5] = columns[5].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    misaligned = _call("released", HALF, seed=14)
    for i in range(4):
        misaligned[i] = torch.cat([misaligned[i].new_zeros(1), misaligned[i].flatten()])[1:].view(misaligned[i].shape)
    names = ("permuted from NCHW", "expanded batch", "every second column", "misaligned")
    return [(name, tuple(args)) for name, args in zip(names, (permuted, expanded, columns, misaligned))]


def samples() -> list[Sample]:
    """Calls that must work."""
    whole: dict[str, Any] = {"maps": (1, 64, 64), "onto": (64, 64), "sizes": (32, 256), "strip_rows": 4, "scale": 0.5}
    quarter = {**whole, "maps": (1, 32, 32), "onto": (32, 32), "sizes": (32, 64)}
    tiny = [
        *((f"{m}, {str(t)[6:]}", _rich(m, t, m == "released")) for t in (FULL, HALF, BRAIN, DOUBLE) for m in _MODES),
        *((f"large scores, {m}, {str(t)[6:]}", _large_scores(m, t)) for m, t in zip(_MODES * 2, (FULL, FULL, HALF))),
        ("large scores, bfloat16", _large_scores("edge-query", BRAIN)),
        *((f"large values, {m}, {str(t)[6:]}", _large_values(m, t)) for t in (FULL, BRAIN) for m in _MODES),
        *((f"24 places a strip, {m}", tuple(_call(m, onto=(2, 12), sizes=(5, 6), seed=9))) for m in _MODES),
        ("one pixel", tuple(_call("released", maps=(1, 1, 1), onto=(1, 1), sizes=(1, 1), strip_rows=1))),
        ("one pixel from afar", _one_pixel_from_afar()),
        ("one row, 24 channels", tuple(_call("edge-query", maps=(1, 2, 3), onto=(2, 3), sizes=(8, 24), strip_rows=1))),
        ("no pictures", tuple(_call("edge-query", maps=(0, 4, 5)))),
        *((f"NaN and infinity, {mode}", _not_numbers(mode)) for mode in _MODES),
        *_foreign_strides(),
    ]
    large = [
        *((f"network, {mode}", tuple(_call(mode, **whole))) for mode in _MODES),
        *((f"32x32, {str(t)[6:]}", tuple(_call(m, t, **quarter))) for m, t in zip(_MODES, (HALF, BRAIN))),
        ("512x512", tuple(_call("released", maps=(1, 128, 128), onto=(128, 128), strip_rows=1))),
        ("2048 wide", tuple(_call("edge-query", maps=(1, 4, 512), onto=(4, 512), strip_rows=4))),
        ("1024 wide", tuple(_call("released", maps=(1, 4, 256), onto=(4, 256), strip_rows=4))),
    ]
    return [Sample(n, a) for n, a in tiny] + [Sample(n, a, tiny=False) for n, a in large]


def sized(batch: int, height: int, width: int, channels: int, dtype: torch.dtype, seed: int) -> Sample:
    """A call whose maps are a little larger than the `height` x `width` they are gathered onto."""
    strip_rows = next(rows for rows in (4, 3, 2, 1) if height % rows == 0)
    args = _call(
        _MODES[seed % 2],
        dtype,
        maps=(batch, height + seed % 3, width + 1),
        onto=(height, width),
        sizes=(channels % 9 + 1, channels),
        strip_rows=strip_rows,
        align_corners=seed % 4 > 1,
        seed=seed,
    )
    return Sample(f"{batch}x{height}x{width}x{channels} {dtype}", tuple(args))


def network(mode: str = "released") -> Sample:
    """The attention of one frame: a face that has moved a little."""
    args = _call(mode, maps=(1, 64, 64), onto=(64, 64), sizes=(32, 256), strip_rows=4, scale=0.5, motion=0.5)
    return Sample(f"1x64x64x256, {mode}", tuple(args), tiny=False)


def refusals() -> list[Refusal]:
    """Calls that must raise."""

    def changed(kind: str, **changes: Any) -> tuple[Any, ...]:
        names = "query key value features edge flow occlusion edge_weight query_bias key_bias value_bias gamma"
        given = dict(zip([*names.split(), "strip_rows", "mode"], _call(kind)))
        return tuple((given | changes).values())

    wide = torch.zeros(4)
    return [
        Refusal("rank of the key", changed("released", key=wide), ShapeError, "[B, H, W, D]"),
        Refusal("value's channels", changed("released", value=torch.zeros(1, 4, 5, 3)), ShapeError, "[1, 4, 5, 3]"),
        Refusal("length of the bias", changed("released", query_bias=wide), ShapeError, "query_bias"),
        Refusal("two numbers of flow", changed("released", flow=torch.zeros(1, 4, 5, 3)), ShapeError, "[1, 4, 5, 2]"),
        Refusal("broken strip", changed("released", strip_rows=3), ShapeError, "multiple of 3"),
        Refusal("no strip", changed("released", strip_rows=0), ShapeError, "multiple of 0"),
        Refusal("no query", changed("released", query=None), OptionError, "no query"),
        Refusal("a query too many", changed("edge-query", query=torch.zeros(1, 4, 5, 6)), OptionError, "edge asks"),
        Refusal("unknown mode", changed("released", mode="awp"), OptionError, "awp"),
        Refusal("whole numbers", changed("released", value=torch.zeros(1, 4, 5, 7).int()), DtypeError, "int32"),
        Refusal("mixed types", changed("released", key=torch.zeros(1, 4, 5, 6).half()), DtypeError, "float16"),
        Refusal("flow in 16 bits", changed("released", flow=torch.zeros(1, 4, 5, 2).half()), DtypeError, "float32"),
    ]
