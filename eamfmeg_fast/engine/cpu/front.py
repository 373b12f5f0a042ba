"""What finds the motion: keypoints, Jacobians, edge map, flow and occlusion; float32, whatever the decoder is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eamfmeg_fast.engine.cpu.convolution import Convolution, quickest
from eamfmeg_fast.engine.cpu.hourglass import Hourglass
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.folding import joined
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.kernels.antialias_down import gaussian_kernel
from eamfmeg_fast.kernels.antialias_down.native import antialias_down_cpu
from eamfmeg_fast.kernels.dense_motion.native import dense_motion_cpu
from eamfmeg_fast.kernels.geometry import affine_of, identity_grid
from eamfmeg_fast.kernels.soft_argmax.native import soft_argmax_cpu
from eamfmeg_fast.kernels.sparse_motion.native import sparse_motion_cpu
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.layers import to_nchw, to_nhwc
from eamfmeg_fast.network.stillness import settle_flow


class Motion(NamedTuple):
    """Flow `[B, h, w, 2]` and occlusion `[B, h, w]`, the caller's own."""

    flow: Tensor
    occlusion: Tensor


class Thumbnails:
    """Pictures reduced to the size that motion lives on."""

    def __init__(self, parameters: Parameters) -> None:
        config = parameters.config
        self._size, self._stride = config.map_size, round(1 / config.scale_factor)
        self._kernel = gaussian_kernel(config.scale_factor, config.pixel_grid == "centres").float()

    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 `[B, H, W, 3]` to float32 `[B, h, w, 3]` in [0, 1]."""
        out = torch.empty(pictures.shape[0], self._size, self._size, 3)
        antialias_down_cpu(out, pictures, self._kernel, self._stride)
        return out


class Detector:
    """The keypoint detector and the edge head."""

    def __init__(self, parameters: Parameters, workspace: Workspace) -> None:
        self.config = config = parameters.config
        size = config.map_size
        self._hourglass = Hourglass(parameters, "kp_detector.predictor", config.keypoint, size, workspace)
        kernel = joined(parameters, "kp_detector.kp", "kp_detector.jacobian")
        self._heads = quickest(kernel, config.keypoint_padding, size, workspace, self._hourglass.free)
        self._edge: Convolution | None = None
        if config.edge:
            weight, bias = joined(parameters, "edge_predictor.edge")
            self._edge = Convolution(weight, bias, padding=1, size=size)

    def detect(self, thumbnails: Tensor) -> tuple[Keypoints, Tensor]:
        """Keypoints of `[B, h, w, 3]`, and the hourglass's features, valid until anything else is computed."""
        features = self._hourglass(thumbnails)
        maps = to_nhwc(self._heads(to_nchw(features)))
        batch, count = maps.shape[0], self.config.num_kp
        found = Keypoints(torch.empty(batch, count, 2), torch.empty(batch, count, 2, 2))
        logits, jacobians = maps[..., :count], maps[..., count:].unflatten(-1, (count, 2, 2))
        soft_argmax_cpu(found, logits, jacobians, self.config.temperature, self.config.pixel_grid)
        return found, features

    def edges(self, features: Tensor) -> Tensor | None:
        """The edge map `[B, h, w]`, or None for a preset without."""
        return None if self._edge is None else torch.sigmoid(self._edge(to_nchw(features)))[:, 0].contiguous()


class MotionFinder:
    """The dense motion network."""

    def __init__(self, parameters: Parameters, workspace: Workspace) -> None:
        self.config = config = parameters.config
        self._rest = identity_grid(config.map_size, config.map_size, config.pixel_grid, dtype=torch.float32)
        self._workspace, size, name = workspace, config.map_size, "generator.dense_motion_network"
        self._hourglass = Hourglass(parameters, f"{name}.hourglass", config.dense_motion, size, workspace)
        kernel = joined(parameters, f"{name}.mask", f"{name}.occlusion")
        self._heads = quickest(kernel, config.mask_kernel // 2, size, workspace, self._hourglass.free)

    def find(self, thumbnail: Tensor, target: Keypoints, moved: Keypoints) -> Motion:
        """From the target's thumbnail `[B, h, w, 3]` and keypoints to the driving ones."""
        config, batch, size = self.config, moved.kp.shape[0], self.config.map_size
        affine = affine_of(target.kp, target.jacobian, moved.kp, moved.jacobian)
        inputs = self._workspace.buffer("x", (batch, size, size, (config.num_kp + 1) * 4))
        grid, corners = config.pixel_grid, config.align_corners
        sparse_motion_cpu(inputs, thumbnail, target.kp, moved.kp, affine, config.kp_variance, grid, corners)
        maps = to_nhwc(self._heads(to_nchw(self._hourglass(inputs))))
        motion = Motion(torch.empty(batch, size, size, 2), torch.empty(batch, size, size))
        logits, visible = maps[..., : config.num_kp + 1], maps[..., config.num_kp + 1]
        dense_motion_cpu((None, *motion), logits, visible, affine, grid)
        return motion._replace(flow=settle_flow(motion.flow, self._rest, config.still_px))
