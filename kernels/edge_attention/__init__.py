"""Edge-intensified multi-head self-attention (EIMHSA) over strips of rows, gathered along the flow on the way in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank, describe
from eamfmeg_fast.kernels.edge_attention import native, samples
from eamfmeg_fast.kernels.edge_attention.reference import AttentionMode
from eamfmeg_fast.kernels.edge_attention.reference import edge_attention as _reference
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "edge_attention"]


def edge_attention(
    query: Tensor | None,
    key: Tensor,
    value: Tensor,
    features: Tensor,
    edge: Tensor,
    flow: Tensor,
    occlusion: Tensor,
    edge_weight: Tensor,
    query_bias: Tensor,
    key_bias: Tensor,
    value_bias: Tensor,
    gamma: Tensor,
    strip_rows: int,
    mode: AttentionMode,
    align_corners: bool = False,
) -> Tensor:
    """EIMHSA with the warp inside: the target's maps are projected once, and gathered along the flow in every frame.

    With o the occlusion: `k = o warp(key) + key_bias`, `v = o warp(value) + value_bias`, `e = warp(edge)`. "released":
    `q = o warp(query) + query_bias`, `k` gains `e edge_weight`, and `out_j = sum_i softmax_j(q_i . k_j) v_i`.
    "edge-query": `q = e edge_weight + query_bias`, and `out_i = sum_j softmax_j(q_i . k_j) v_j`.

    Convention:
        flow is absolute, backward, (x, y) in [-1, 1]. align_corners=False: -1 is the outer edge of the first pixel;
        True: its centre. Outside is zero, and so is a sample with a non-finite coordinate. Strips of rows, row-major.

    On a GPU more than 32 channels of keys, or 2048 pixels in a strip, are left to plain PyTorch.

    Args:
        query: `[B, H, W, D]`, the target's features through the query's 1x1 convolution without its bias;
            None in "edge-query".
        key, value, features: `[B, H, W, D]`, `[B, H, W, C]`, `[B, H, W, C]`: float16, bfloat16 (both computed in
            float32), float32 or float64, one type for all maps, any strides.
        edge: `[B, H, W]`, float32 (float64 beside float64 maps), like all that follows.
        flow: `[B, h, w, 2]`; occlusion: `[B, h, w]`; h is a multiple of `strip_rows`.
        edge_weight: `[D]`, the edge's convolution to the key ("released") or to the query ("edge-query").
        query_bias, key_bias: `[D]`, sums of all biases behind them; value_bias: `[C]`; gamma: `[1]`.

    Returns:
        `gamma * out + o warp(features)`, `[B, h, w, C]` in the type of the maps; contiguous. Differentiable.

    Raises:
        ShapeError: the sizes do not belong together, or h is no multiple of `strip_rows`.
        DtypeError: a type that is not above, or different types together.
        OptionError: another mode, or a query that the mode lacks or has no use for.
    """
    vectors = (edge_weight, query_bias, key_bias, value_bias, gamma)
    _check((query, key, value, features), (edge, flow, occlusion, *vectors), strip_rows, mode)
    return torch.ops.eamfmeg.edge_attention(
        query, key, value, features, edge, flow, occlusion, *vectors, strip_rows, mode, align_corners
    )


def _check(given: tuple[Tensor | None, ...], rest: tuple[Tensor, ...], strip_rows: int, mode: str) -> None:
    _check_options(given[0], mode)
    maps = {name: x for name, x in zip(("query", "key", "value", "features"), given) if x is not None}
    others = dict(zip("edge flow occlusion edge_weight query_bias key_bias value_bias gamma".split(), rest))
    _check_types(maps, others)
    _check_shapes(maps, others, strip_rows)


def _check_options(query: Tensor | None, mode: str) -> None:
    if mode not in ("released", "edge-query"):
        raise OptionError(f"mode {mode!r}", "'released' or 'edge-query'", "Take the mode that the weights came with.")
    if (query is None) == (mode == "released"):
        came = "no query" if query is None else f"query is {describe(query)}"
        wanted = "a query" if query is None else "None, since the edge asks"
        raise OptionError(f"{came} in mode {mode!r}", wanted, "Choose the mode that fits the weights.")


def _check_types(maps: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    dtype = maps["features"].dtype
    for name, x in maps.items():
        check_dtype(name, x, FLOATS)
        if x.dtype != dtype:
            raise DtypeError(f"{name} is {describe(x)}", f"{dtype} as features", "Convert one of them with .to(...).")
    for name, x in others.items():
        check_dtype(name, x, (torch.float64,) if dtype == torch.float64 else (torch.float32,))


def _check_shapes(maps: dict[str, Tensor], others: dict[str, Tensor], strip_rows: int) -> None:
    for name, x in maps.items():
        check_rank(name, x, "BHWD" if name in ("query", "key") else "BHWC")
    for name, layout in {"edge": "BHW", "flow": "BhwX", "occlusion": "Bhw"}.items():
        check_rank(name, others[name], layout)
    batch, height, width, dim = maps["key"].shape
    channels, (h, w) = maps["features"].shape[3], others["occlusion"].shape[1:]
    whole = (batch, height, width)
    wanted: dict[str, tuple[int, ...]] = {"value": (*whole, channels), "features": (*whole, channels)}
    wanted |= {"query": (*whole, dim), "edge": whole}
    wanted |= {"flow": (batch, h, w, 2), "occlusion": (batch, h, w), "value_bias": (channels,), "gamma": (1,)}
    wanted |= {"edge_weight": (dim,), "query_bias": (dim,), "key_bias": (dim,)}
    for name, x in (maps | others).items():
        if tuple(x.shape) != wanted.get(name, tuple(x.shape)):
            raise ShapeError(f"{name} is {describe(x)}", str(list(wanted[name])), "All sizes must belong together.")
    if height == 0 or width == 0:
        raise ShapeError(f"key is {describe(maps['key'])}", "at least one pixel", "There is nothing to gather from.")
    if strip_rows < 1 or h % strip_rows:
        raise ShapeError(
            f"flow is {describe(others['flow'])}", f"a height that is a multiple of {strip_rows} rows", "Pad the map."
        )


def _fake(query: Tensor | None, key: Tensor, value: Tensor, features: Tensor, edge: Tensor, *rest: Any) -> Tensor:
    batch, height, width = rest[1].shape
    return torch.empty((batch, height, width, features.shape[3]), dtype=features.dtype, device=features.device)


def _takes(query: Tensor | None, key: Tensor, value: Tensor, features: Tensor, *rest: Any) -> bool:
    maps = (key, value, features) if query is None else (query, key, value, features)
    alike = all(x.dtype == features.dtype for x in maps)
    return alike and features.dtype in _FAST and all(x.dtype == torch.float32 for x in rest[:8])


def _fits(query: Tensor | None, key: Tensor, value: Tensor, features: Tensor, *rest: Any) -> bool:
    # What the shared memory of the smallest device holds; the network has 16 or 32 channels of keys and 256 places. And
    # what pixels, programs and positions are counted with: int32, and float32.
    strip_rows, (batch, height, width), channels = rest[8], rest[2].shape, features.shape[3]
    places = strip_rows * width
    programs = batch * (height // strip_rows) * (places // 128 + 1) * (channels // 16 + 1)
    small = key.shape[3] <= _MOST_KEY_CHANNELS and places <= _MOST_PLACES
    counted = max(*key.shape[1:3], height, channels) <= 1 << 24 and max(key.shape[1] * key.shape[2], programs) < 1 << 31
    return small and counted and _takes(query, key, value, features, *rest)


_MOST_KEY_CHANNELS, _MOST_PLACES = 32, 2048
_FAST = (torch.float16, torch.bfloat16, torch.float32)
OP = operator(
    "edge_attention(Tensor? query, Tensor key, Tensor value, Tensor features, Tensor edge, Tensor flow, "
    "Tensor occlusion, Tensor edge_weight, Tensor query_bias, Tensor key_bias, Tensor value_bias, Tensor gamma, "
    "int strip_rows, str mode, bool align_corners) -> Tensor",
    public=edge_attention,
    reference=_reference,
    fake=_fake,
    takes=_takes,
    gpu_takes=_fits,
    cases=samples,
    cpu=native.edge_attention_cpu,
    cuda=native.edge_attention_cuda,
)
