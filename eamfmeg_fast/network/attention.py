"""Edge-intensified multi-head self-attention (EIMHSA)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.edge_attention.reference import strip_attention
from eamfmeg_fast.network.layers import to_nchw, to_nhwc
from eamfmeg_fast.network.operators import Operated


class Attended(NamedTuple):
    """Attention and its effect.

    Attributes:
        features: `[B, C, h, w]`, `gamma * out + x`.
        attention: `[B, S, N, N]`, rows sum to 1.
    """

    features: Tensor
    attention: Tensor


class EdgeAttention(Operated):
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
        self._check(x.shape[2])
        if self.mode == "released":
            query, key = self.query_conv(x), self.key_conv(x) + self.key_edge_conv(edge)
        else:
            query, key = self.query_edge_conv(edge), self.key_conv(x)
        out, attention = strip_attention(
            to_nhwc(query), to_nhwc(key), to_nhwc(self.value_conv(x)), self.strip_rows, self.mode == "released"
        )
        return Attended(self.gamma * to_nchw(out) + x, attention)

    def along(self, features: Tensor, edge_map: Tensor, flow: Tensor, occlusion: Tensor, align_corners: bool) -> Tensor:
        """The same by the fused operator: project the target's features, then gather along the flow and attend.

        Args:
            features: `[B, C, h, w]`, the target's, not warped; edge_map: `[B, h, w]`.
            flow: `[B, h, w, 2]`; occlusion: `[B, h, w]`.

        Raises:
            ShapeError: h is no multiple of the strip height.
        """
        self._check(flow.shape[1])
        if self.operators.edge_attention is None:
            raise TypeError("this network has not been switched to an edge_attention operator")
        released = self.mode == "released"
        edge = self.key_edge_conv if released else self.query_edge_conv
        query_bias, key_bias = _bias(self.query_conv if released else edge), _bias(self.key_conv)
        return to_nchw(
            self.operators.edge_attention(
                _project(self.query_conv, features) if released else None,
                _project(self.key_conv, features),
                _project(self.value_conv, features),
                to_nhwc(features),
                edge_map,
                flow,
                occlusion,
                edge.weight.flatten(),
                query_bias,
                key_bias + _bias(edge) if released else key_bias,
                _bias(self.value_conv),
                self.gamma,
                self.strip_rows,
                self.mode,
                align_corners,
            )
        )

    def _check(self, height: int) -> None:
        if height % self.strip_rows:
            raise ShapeError(
                f"features of height {height}",
                f"a multiple of {self.strip_rows} rows",
                "Use a picture size that is a multiple of 16.",
            )


def _project(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """A 1x1 convolution without its bias, `[B, h, w, O]`."""
    return to_nhwc(F.conv2d(features, conv.weight))


def _bias(conv: nn.Conv2d) -> Tensor:
    return conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
