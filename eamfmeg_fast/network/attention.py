"""Edge-intensified multi-head self-attention (EIMHSA)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.edge_attention.reference import strip_attention
from eamfmeg_fast.network.layers import to_nchw, to_nhwc


class Attended(NamedTuple):
    """Attention and its effect.

    Attributes:
        features: `[B, C, h, w]`, `gamma * out + x`.
        attention: `[B, S, N, N]`, rows sum to 1.
    """

    features: Tensor
    attention: Tensor


class EdgeAttention(nn.Module):
    """EIMHSA in two modes.

    "released": what the released code computes. Query and key come from the features, the edge is a second key
    (`Q K + Q K_e`), and the values are summed over queries.
    "edge-query": the published description. The edge asks, the features answer, the values are summed over keys.
    """

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.mode, self.strip_rows = config.attention, config.strip_rows
        dim = config.attention_dim
        if self.mode == "released":
            self.query_conv = nn.Conv2d(channels, dim, 1)
            self.key_edge_conv = nn.Conv2d(1, dim, 1)
        else:
            self.query_edge_conv = nn.Conv2d(1, dim, 1)
        self.key_conv = nn.Conv2d(channels, dim, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, edge: Tensor) -> Attended:
        """Attend.

        Args:
            x: `[B, C, h, w]`, warped and occluded features.
            edge: `[B, 1, h, w]`, the target's edge map, warped.

        Raises:
            ShapeError: h is no multiple of the strip height.
        """
        if x.shape[2] % self.strip_rows:
            raise ShapeError(
                f"features of height {x.shape[2]}",
                f"a multiple of {self.strip_rows} rows",
                "Use a picture size that is a multiple of 16.",
            )
        if self.mode == "released":
            query, key = self.query_conv(x), self.key_conv(x) + self.key_edge_conv(edge)
        else:
            query, key = self.query_edge_conv(edge), self.key_conv(x)
        out, attention = strip_attention(
            to_nhwc(query), to_nhwc(key), to_nhwc(self.value_conv(x)), self.strip_rows, self.mode == "released"
        )
        return Attended(self.gamma * to_nchw(out) + x, attention)
