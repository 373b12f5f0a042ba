"""Strip attention in plain PyTorch (EAM-FMEG, section 3.4, and the arithmetic of its released code)."""

from __future__ import annotations

import torch
from torch import Tensor


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
