"""Encode the target once; warp, attend and decode for every driving frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.kernels.compose.reference import blend, deform
from eamfmeg_fast.kernels.warp_occlude.reference import warp
from eamfmeg_fast.network.attention import EdgeAttention
from eamfmeg_fast.network.dense_motion import DenseMotion, DenseMotionNetwork
from eamfmeg_fast.network.layers import DownBlock2d, ResBlock2d, SameBlock2d, UpBlock2d, to_nchw, to_nhwc
from eamfmeg_fast.network.operators import Operated
from eamfmeg_fast.network.stillness import visible_since_rest


class Rendering(NamedTuple):
    """Everything that the decoder passes through; absent stages are None.

    Attributes:
        prediction: `[B, 3, H, W]` in [0, 1].
        features_warped: warped and occluded features; features_attended: after EIMHSA.
        edge_warped: `[B, 1, h, w]`; attention: `[B, S, N, N]`.
        residual_0, bottleneck, up_0, up_1: decoder stages. deformed: the target picture warped.
    """

    prediction: Tensor
    features_warped: Tensor
    edge_warped: Tensor | None
    attention: Tensor | None
    features_attended: Tensor | None
    residual_0: Tensor
    bottleneck: Tensor
    up: list[Tensor]
    deformed: Tensor


class OcclusionAwareGenerator(Operated):
    """FOMM, section 3.3."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.dense_motion_network = DenseMotionNetwork(config)
        widths = [
            min(config.generator_max_features, config.generator_expansion * 2**i) for i in range(config.down_blocks + 1)
        ]
        self.first = SameBlock2d(3, widths[0], 7)
        self.down_blocks = nn.ModuleList(DownBlock2d(a, b) for a, b in zip(widths, widths[1:]))
        self.bottleneck = nn.Sequential()
        for i in range(config.residual_blocks):
            self.bottleneck.add_module(f"r{i}", ResBlock2d(widths[-1]))
        reverse = widths[::-1]
        self.up_blocks = nn.ModuleList(UpBlock2d(a, b) for a, b in zip(reverse, reverse[1:]))
        self.final = nn.Conv2d(widths[0], 3, 7, padding=3)
        self.features = widths[-1]

    def encode(self, picture: Tensor) -> Tensor:
        """The target's features `[B, C, h, w]` from its picture `[B, 3, H, W]`."""
        out = self.first(picture)
        for block in self.down_blocks:
            out = block(out)
        return out

    def render(
        self,
        picture: Tensor,
        features: Tensor,
        edge_map: Tensor | None,
        motion: DenseMotion,
        attend: EdgeAttention | None,
        grain: Tensor | None = None,
        rest: Tensor | None = None,
    ) -> Rendering:
        """Draw the target moved by `motion`.

        Args:
            picture: the target `[B, 3, H, W]`; features: its `encode`; edge_map: `[B, h, w]` or None.
            attend: the attention module, or None.
            grain: laid over the prediction, `[B, 3, H, W]`; `picture` is then without it (`grain.split_grain`).
            rest: the occlusion at rest, `[B, h, w]`, that the blend's is counted in (`stillness.visible_since_rest`).
        """
        corners = self.config.align_corners
        occlusion = motion.occlusion[:, 0]
        warped = to_nchw(self.operators.warp_occlude(to_nhwc(features), motion.flow, occlusion, corners))
        edge = attention = attended = None
        out = warped
        if attend is not None and edge_map is not None:
            edge = warp(edge_map[..., None], motion.flow, corners).permute(0, 3, 1, 2).detach()
            if self.operators.edge_attention is None:
                attended, attention = attend(warped, edge)
            else:
                attended = attend.along(features, edge_map, motion.flow, occlusion, corners)
            out = attended
        residual_0 = out = self.bottleneck[0](out)
        for block in list(self.bottleneck)[1:]:
            out = block(out)
        bottleneck, up = out, []
        for block in self.up_blocks:
            out = block(out)
            up.append(out)
        prediction = torch.sigmoid(self.final(out))
        skip = self.config.skip
        deformed = deform(to_nhwc(picture), motion.flow, self.config.pixel_grid, corners, cubic=skip)
        if skip:
            laid_over = None if grain is None else to_nhwc(grain)
            prediction = to_nchw(blend(to_nhwc(prediction), deformed, visible_since_rest(occlusion, rest), laid_over))
        return Rendering(prediction, warped, edge, attention, attended, residual_0, bottleneck, up, to_nchw(deformed))
