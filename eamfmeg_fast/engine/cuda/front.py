"""What finds the motion, in float32 whatever the decoder is: keypoints, Jacobians, edge map, flow and occlusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eamfmeg_fast.engine.cuda.layers import Convolution, Hourglass, Place
from eamfmeg_fast.engine.cuda.pointwise import settle
from eamfmeg_fast.engine.folding import joined
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.kernels.antialias_down import antialias_down, gaussian_kernel
from eamfmeg_fast.kernels.dense_motion import dense_motion
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.soft_argmax import soft_argmax
from eamfmeg_fast.kernels.sparse_motion import sparse_motion
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.stillness import settle_flow


class Motion(NamedTuple):
    """Flow `[B, h, w, 2]` and occlusion `[B, h, w]`."""

    flow: Tensor
    occlusion: Tensor


class Detector:
    """Thumbnails, the keypoint detector and the edge head."""

    def __init__(self, parameters: Parameters, place: Place) -> None:
        self.config = config = parameters.config
        self._stride = round(1 / config.scale_factor)
        kernel = gaussian_kernel(config.scale_factor, config.pixel_grid == "centres")
        self._kernel = kernel.to(place.device, torch.float32)
        self._hourglass = Hourglass(parameters, "kp_detector.predictor", config.keypoint, place)
        weight, bias = joined(parameters, "kp_detector.kp", "kp_detector.jacobian")
        self._heads = Convolution(weight, bias, padding=config.keypoint_padding, place=place)
        self._edge: Convolution | None = None
        if config.edge:
            weight, bias = joined(parameters, "edge_predictor.edge")
            self._edge = Convolution(weight, bias, padding=1, place=place)

    def thumbnails(self, frames: Tensor) -> Tensor:
        """uint8 `[B, H, W, 3]` to `[B, h, w, 3]` in [0, 1]."""
        return antialias_down(frames, self._kernel, self._stride)

    def detect(self, thumbnails: Tensor) -> tuple[Keypoints, Tensor]:
        """Keypoints of `[B, h, w, 3]`, and the hourglass's features."""
        config = self.config
        features = self._hourglass(thumbnails)
        maps = settle(self._heads(features), self._heads.bias, relu=False)
        count = config.num_kp
        logits, jacobians = maps[..., :count], maps[..., count:].unflatten(-1, (count, 2, 2))
        return Keypoints(*soft_argmax(logits, jacobians, config.temperature, config.pixel_grid)), features

    def edges(self, features: Tensor) -> Tensor | None:
        """The edge map `[B, h, w]`, or None for a preset without."""
        if self._edge is None:
            return None
        return torch.sigmoid(self._edge(features) + self._edge.bias)[..., 0].contiguous()


class MotionFinder:
    """The dense motion network."""

    def __init__(self, parameters: Parameters, place: Place) -> None:
        self.config = config = parameters.config
        name, side = "generator.dense_motion_network", config.map_size
        self._rest = identity_grid(side, side, config.pixel_grid, dtype=torch.float32, device=place.device)
        self._hourglass = Hourglass(parameters, f"{name}.hourglass", config.dense_motion, place)
        weight, bias = joined(parameters, f"{name}.mask", f"{name}.occlusion")
        self._heads = Convolution(weight, bias, padding=config.mask_kernel // 2, place=place)

    def find(self, thumbnail: Tensor, target: Keypoints, moved: Keypoints, affine: Tensor) -> Motion:
        """From the target's thumbnail `[B, h, w, 3]` to the motion of its moved keypoints; `relative.moved_by`."""
        config, count = self.config, self.config.num_kp + 1
        inputs = sparse_motion(
            thumbnail, target.kp, moved.kp, affine, config.kp_variance, config.pixel_grid, config.align_corners
        )
        maps = settle(self._heads(self._hourglass(inputs)), self._heads.bias, relu=False)
        _, flow, occlusion = dense_motion(maps[..., :count], maps[..., count], affine, config.pixel_grid)
        return Motion(settle_flow(flow, self._rest, config.still_px), occlusion)
