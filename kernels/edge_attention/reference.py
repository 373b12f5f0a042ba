"""Strip attention in plain PyTorch (EAM-FMEG, section 3.4, and the arithmetic of its released code)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from eamfmeg_fast.kernels.warp_occlude.reference import warp, warp_occlude

AttentionMode = Literal["released", "edge-query"]


def strip_attention(
    query: Tensor, key: Tensor, value: Tensor, strip_rows: int, transposed: bool
) -> tuple[Tensor, Tensor]:
    """Attention inside each strip of `strip_rows` rows; the strips are what the method calls heads.

    Convention:
        Row-major: strip s holds the rows `s * strip_rows ... (s + 1) * strip_rows - 1`. Scores are not scaled.
        `attention[..., i, j]` is the softmax over keys j for query i. transposed=False is the ordinary
        `out_i = sum_j attention[i, j] value_j`; transposed=True is what the released code computes,
        `out_j = sum_i attention[i, j] value_i`.

    Args:
        query, key: `[B, H, W, D]`; H is a multiple of `strip_rows`.
        value: `[B, H, W, C]`.

    Returns:
        out `[B, H, W, C]` and attention `[B, S, N, N]` with N = strip_rows * W.
    """
    batch, height, width, channels = value.shape
    strips = height // strip_rows

    def split(x: Tensor) -> Tensor:
        return x.reshape(batch, strips, strip_rows * width, x.shape[-1])

    q, k, v = split(query), split(key), split(value)
    attention = torch.softmax(q @ k.transpose(-1, -2), dim=-1)
    out = (attention.transpose(-1, -2) if transposed else attention) @ v
    return out.reshape(batch, height, width, channels), attention


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

    A 1x1 convolution without its bias commutes with sampling and with a factor for each pixel,
    `W (o warp(F)) + b = o warp(W F) + b`, so that the projections need no frame; the bias goes after the warp.

    Args:
        query: `[B, H, W, D]`, the target's features through `query_conv` without bias; None in "edge-query".
        key: `[B, H, W, D]`; value: `[B, H, W, C]`, likewise. features: `[B, H, W, C]`, the target's own.
        edge: `[B, H, W]`, the target's edge map.
        flow: `[B, h, w, 2]`; occlusion: `[B, h, w]`; h is a multiple of `strip_rows`.
        edge_weight: `[D]`, the edge's convolution to the key ("released") or to the query ("edge-query").
        query_bias, key_bias: `[D]`, sums of the biases of all convolutions behind the query and the key.
        value_bias: `[C]`. gamma: `[1]`.

    Returns:
        `gamma * attention + o warp(F)`, `[B, h, w, C]` in the type of `features`.
    """
    dtype = features.dtype
    share = warp(edge[..., None], flow, align_corners) * edge_weight
    warped_key = warp_occlude(key, flow, occlusion, align_corners) + key_bias
    if mode == "released" and query is not None:
        q, k = warp_occlude(query, flow, occlusion, align_corners) + query_bias, warped_key + share
    else:
        q, k = share + query_bias, warped_key
    v = warp_occlude(value, flow, occlusion, align_corners) + value_bias
    out, _ = strip_attention(q.to(dtype), k.to(dtype), v.to(dtype), strip_rows, mode == "released")
    x = warp_occlude(features, flow, occlusion, align_corners)
    return (gamma * out + x).to(dtype)
