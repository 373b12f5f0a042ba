"""From keypoints to the flow: sparse motions, their masks, and the occlusion."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.kernels.dense_motion.reference import dense_motion
from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.kernels.sparse_motion import sparse_grids, sparse_motion
from eamfmeg_fast.network.keypoint_detector import Keypoints
from eamfmeg_fast.network.layers import AntiAliasInterpolation2d, Hourglass, to_nchw, to_nhwc


class DenseMotion(NamedTuple):
    """The motion of one driving frame on a target, maps of h x w cells.

    Attributes:
        flow: `[B, h, w, 2]`, the absolute sampling grid.
        occlusion: `[B, 1, h, w]`.
        mask: `[B, K + 1, h, w]`, sums to 1 over dim 1.
        affine: `[B, K, 2, 3]`, the keypoints' motions, driving -> target.
        inputs: `[B, (K + 1) * 4, h, w]`, what the hourglass saw.
        features: its output.
    """

    flow: Tensor
    occlusion: Tensor
    mask: Tensor
    affine: Tensor
    inputs: Tensor
    features: Tensor


class DenseMotionNetwork(nn.Module):
    """FOMM, section 3.2."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.hourglass = Hourglass((config.num_kp + 1) * 4, config.dense_motion)
        features, kernel = self.hourglass.out_filters, config.mask_kernel
        self.mask = nn.Conv2d(features, config.num_kp + 1, kernel, padding=kernel // 2)
        self.occlusion = nn.Conv2d(features, 1, kernel, padding=kernel // 2)
        self.down = AntiAliasInterpolation2d(3, config.scale_factor, even=config.pixel_grid == "centres")

    def forward(self, thumbnail: Tensor, target: Keypoints, driving: Keypoints) -> DenseMotion:
        """The motion that brings the target's thumbnail `[B, 3, h, w]` to the driving keypoints."""
        config = self.config
        affine = affine_of(target.kp, target.jacobian, driving.kp, driving.jacobian)
        inputs = sparse_motion(
            to_nhwc(thumbnail),
            target.kp,
            driving.kp,
            affine,
            config.kp_variance,
            config.pixel_grid,
            config.align_corners,
        )
        features = self.hourglass(to_nchw(inputs))
        mask, flow, occlusion = dense_motion(
            to_nhwc(self.mask(features)), self.occlusion(features)[:, 0], affine, config.pixel_grid
        )
        return DenseMotion(flow, occlusion[:, None], to_nchw(mask), affine, to_nchw(inputs), features)

    def sparse_grids(self, motion: DenseMotion) -> Tensor:
        """The K + 1 sampling grids of `motion`, `[B, K + 1, h, w, 2]`."""
        height, width = motion.flow.shape[1:3]
        return sparse_grids(motion.affine, height, width, self.config.pixel_grid)
