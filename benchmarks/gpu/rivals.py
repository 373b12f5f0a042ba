"""What each operator is measured against: the same result by means that anyone has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from harness import Call
from torch import Tensor

from eamfmeg_fast.kernels.registry import Op

Maker = Callable[[tuple[Any, ...]], Call]


@dataclass(frozen=True)
class Rival:
    """One way to compute what an operator computes.

    Attributes:
        make: from arguments on the device to the call that is timed; what depends on the target alone is done here.
        compiled: `torch.compile` works on it first.
    """

    make: Maker
    compiled: bool = False


def rivals(op: Op, args: tuple[Any, ...]) -> dict[str, Rival]:
    """The reference eagerly and compiled, and what PyTorch has for this operator."""
    found = {"eager": _plain(op.reference), "compiled": _compiled(op.reference)}
    if op.name == "warp_occlude":
        for layout in ("channels last", "channels first"):
            found[f"grid_sample and multiply, {layout}"] = Rival(_grid_sample(layout == "channels last"))
    if op.name == "edge_attention" and "edge-query" in args:
        found["grid_sample and SDPA"] = Rival(_attention(_sdpa))
        found["grid_sample and SDPA, compiled"] = Rival(_attention(_sdpa, compiled=True), compiled=True)
        found["grid_sample and FlexAttention, compiled"] = Rival(_attention(_flex, compiled=True), compiled=True)
        alone = torch.compile(_flex, dynamic=False)
        found["grid_sample, then compiled FlexAttention"] = Rival(_attention(alone), compiled=True)
    return found


def copy_of(size: int) -> Maker:
    """A copy that reads and writes `size` bytes in all."""

    def make(args: tuple[Any, ...]) -> Call:
        device = next(x.device for x in args if isinstance(x, Tensor))
        pair = torch.randint(0, 255, (2, max(1, size // 2)), dtype=torch.uint8, device=device)
        return lambda: pair[0].copy_(pair[1])

    return make


def _plain(function: Callable[..., Any]) -> Rival:
    return Rival(lambda args: lambda: function(*args))


def _compiled(function: Callable[..., Any]) -> Rival:
    optimised = torch.compile(function, dynamic=False)
    return Rival(lambda args: lambda: optimised(*args), compiled=True)


def _laid_out(maps: Tensor, channels_last: bool) -> Tensor:
    """NHWC as NCHW, in either memory order."""
    first = maps.permute(0, 3, 1, 2)
    return first.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _grid_sample(channels_last: bool) -> Maker:
    def make(args: tuple[Any, ...]) -> Call:
        features, flow, occlusion, align = args
        # grid_sample wants one type for both: in 16 bits it samples at rounded places.
        maps, grid = _laid_out(features, channels_last), flow.to(features.dtype)
        factor = None if occlusion is None else occlusion[:, None].to(features.dtype)

        def call() -> Tensor:
            out = F.grid_sample(maps, grid, align_corners=align)
            return (out if factor is None else out * factor).permute(0, 2, 3, 1)

        return call

    return make


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def _flex(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    out = flex_attention(q, k, v, scale=1.0)
    return out[0] if isinstance(out, tuple) else out


def _attention(attend: Callable[[Tensor, Tensor, Tensor], Tensor], compiled: bool = False) -> Maker:
    """Mode "edge-query": one grid_sample over all maps, put side by side before, then attention by strips."""

    def frame(
        maps: Tensor, edge: Tensor, flow: Tensor, occlusion: Tensor, sizes: tuple[int, int], rows: int,
        vectors: tuple[Tensor, ...], align: bool,
    ) -> Tensor:  # fmt: skip
        dim, channels = sizes
        edge_weight, query_bias, key_bias, value_bias, gamma = vectors
        out = F.grid_sample(maps, flow, align_corners=align) * occlusion[:, None]
        k, v, x = out.permute(0, 2, 3, 1).split([dim, channels, channels], dim=-1)
        share = F.grid_sample(edge, flow, align_corners=align).permute(0, 2, 3, 1)
        batch, height, width, _ = x.shape

        def strips(y: Tensor) -> Tensor:
            return y.reshape(batch, height // rows, rows * width, y.shape[-1])

        found = attend(strips(share * edge_weight + query_bias), strips(k + key_bias), strips(v + value_bias))
        return gamma * found.reshape(x.shape) + x

    run: Callable[..., Tensor] = torch.compile(frame, dynamic=False) if compiled else frame

    def make(args: tuple[Any, ...]) -> Call:
        _, key, value, features, edge, flow, occlusion, *vectors, rows, _, align = args
        dtype, sizes = features.dtype, (key.shape[3], features.shape[3])
        maps = _laid_out(torch.cat([key, value, features], dim=-1), channels_last=True)
        others = [x.to(dtype) for x in (edge[:, None], flow, occlusion)]
        typed = tuple(x.to(dtype) for x in vectors)
        return lambda: run(maps, *others, sizes, rows, typed, align)

    return make
