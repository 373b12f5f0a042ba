"""Keypoints with Jacobians, and the auxiliary edge head on the same features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.kernels.soft_argmax.reference import soft_argmax
from eamfmeg_fast.network.layers import AntiAliasInterpolation2d, Hourglass, to_nhwc


class Keypoints(NamedTuple):
    """K keypoints of B pictures.

    Attributes:
        kp: `[B, K, 2]`, (x, y) in [-1, 1].
        jacobian: `[B, K, 2, 2]`.
    """

    kp: Tensor
    jacobian: Tensor


class Detection(NamedTuple):
    """What the detector finds in a picture.

    Attributes:
        keypoints: see `Keypoints`.
        logits: `[B, K, h, w]`, before the softmax.
        features: `[B, F, h', w']`, the hourglass output that the edge head reads.
    """

    keypoints: Keypoints
    logits: Tensor
    features: Tensor


class KPDetector(nn.Module):
    """Thumbnail, hourglass, soft-argmax (FOMM, section 3.1)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.temperature, self.pixel_grid = config.temperature, config.pixel_grid
        self.down = AntiAliasInterpolation2d(3, config.scale_factor, even=config.pixel_grid == "centres")
        self.predictor = Hourglass(3, config.keypoint)
        features, kernel = self.predictor.out_filters, config.keypoint_kernel
        self.kp = nn.Conv2d(features, config.num_kp, kernel, padding=config.keypoint_padding)
        self.jacobian = nn.Conv2d(features, 4 * config.num_kp, kernel, padding=config.keypoint_padding)
        nn.init.zeros_(self.jacobian.weight)
        if self.jacobian.bias is not None:
            with torch.no_grad():
                self.jacobian.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(config.num_kp))

    def forward(self, picture: Tensor) -> Detection:
        """Detect in `[B, 3, H, W]`, values in [0, 1]."""
        return self.detect_small(self.down(picture))

    def detect_small(self, thumbnail: Tensor) -> Detection:
        """Detect in the thumbnail `[B, 3, h, w]`."""
        features = self.predictor(thumbnail)
        logits = self.kp(features)
        maps = to_nhwc(self.jacobian(features)).unflatten(-1, (logits.shape[1], 2, 2))
        kp, jacobian = soft_argmax(to_nhwc(logits), maps, self.temperature, self.pixel_grid)
        return Detection(Keypoints(kp, jacobian), logits, features)


class EdgePredictor(nn.Module):
    """The auxiliary edge prediction head, AEP (EAM-FMEG, section 3.2)."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.edge = nn.Conv2d(in_features, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """The edge map `[B, h, w]` in (0, 1) from the detector's features `[B, F, h, w]`."""
        return torch.sigmoid(self.edge(features)).squeeze(1)
