"""One training step's forward pass: from a batch to named losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.kernels.antialias_down.reference import antialias_down, gaussian_kernel
from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.network import DenseMotion, Keypoints, Network
from eamfmeg_fast.network.layers import to_nchw, to_nhwc
from eamfmeg_fast.train import losses
from eamfmeg_fast.train.feed import Batch
from eamfmeg_fast.train.options import LossWeights, Stage
from eamfmeg_fast.train.perceptual import FixedPyramid, VGGPyramid
from eamfmeg_fast.train.teaching import taught
from eamfmeg_fast.train.transform import RandomWarp


class Objective:
    """The weighted losses of a network on a batch.

    Args:
        network: in training mode. weights: of the losses. perceptual: the reconstruction distance.
    """

    def __init__(self, network: Network, weights: LossWeights, perceptual: FixedPyramid | VGGPyramid) -> None:
        self.network, self.weights, self.perceptual = network, weights, perceptual

    def __call__(self, batch: Batch, stage: Stage, seed: int) -> dict[str, Tensor]:
        """Named losses, already weighted; their sum is what is minimised. A frozen front has none."""
        frozen = stage.parts == "decoder"
        with torch.set_grad_enabled(not frozen):
            edges, motion, out = self._front(batch, stage, seed, not frozen)
        if stage.parts != "front":
            with torch.set_grad_enabled(not frozen):
                rest = self._rest(batch.first) if self.network.config.counts_from_rest else None
            prediction = self._draw(batch.first, None if edges is None else edges.chunk(2)[0], motion, rest)
            out["reconstruction"] = self.weights.reconstruction * self.perceptual(prediction, losses.carried(batch))
        return out

    def _front(
        self, batch: Batch, stage: Stage, seed: int, learns: bool
    ) -> tuple[Tensor | None, DenseMotion, dict[str, Tensor]]:
        thumbnails = self._thumbnails(torch.cat([batch.first, batch.second]))
        found = self.network.kp_detector.detect_small(thumbnails)
        first, second = (Keypoints(*pair) for pair in zip(*(half.chunk(2) for half in found.keypoints), strict=True))
        edges = self.network.edges(found.features)
        thumbnail = thumbnails.chunk(2)[0]
        truth = losses.flow_truth(batch, *thumbnail.shape[2:])
        told = taught(first, second, batch, truth, stage.taught, seed) if stage.taught else (first, second)
        motion = self.network.motion(thumbnail, *told)
        if not learns:
            return edges, motion, {}
        out = self._keypoints(batch, first, second, truth)
        out |= self._motion(batch, motion, *truth, stage.focus)
        if edges is not None:
            out["edge"] = self.weights.edge * losses.edge_loss(edges.chunk(2), batch)
        # Every other picture: landmarks teach much the same, and a third look at a picture is a quarter of a step.
        out |= self._equivariance(thumbnails.chunk(2)[1][::2], Keypoints(*(x[::2] for x in second)), seed)
        return edges, motion, out

    def _keypoints(
        self, batch: Batch, first: Keypoints, second: Keypoints, truth: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        weights = self.weights
        affine = affine_of(first.kp, first.jacobian, second.kp, second.jacobian)
        return {
            "landmark": weights.landmark * losses.landmark_loss(first, second, batch),
            "keypoint_motion": weights.keypoint_motion * losses.keypoint_motion_loss(first, second, batch),
            "affine": weights.affine * losses.affine_loss(affine, second, *truth, batch.faces),
        }

    def _motion(
        self, batch: Batch, motion: DenseMotion, true_px: Tensor, share: Tensor, focus: float
    ) -> dict[str, Tensor]:
        weights, faces = self.weights, batch.faces
        counted = losses.focused(true_px, share, focus) if focus else share
        grids = self.network.generator.dense_motion_network.sparse_grids(motion)
        emphasis = 1 + (counted - share) if focus else None
        of_faces = losses.motion_loss(motion, true_px, counted, slice(0, faces))
        of_things = losses.motion_loss(motion, true_px, counted, slice(faces, None))
        return {
            "motion": weights.motion * of_faces,
            "motion_things": weights.motion * weights.things * of_things,
            "mask": weights.mask * losses.mask_loss(motion, grids, true_px, counted, faces),
            "occlusion": weights.occlusion * losses.occlusion_loss(motion, share, emphasis),
        }

    def _equivariance(self, thumbnail: Tensor, found: Keypoints, seed: int) -> dict[str, Tensor]:
        warp = RandomWarp(thumbnail.shape[0], torch.Generator().manual_seed(seed))
        grid = warp.grid(*thumbnail.shape[2:]).to(thumbnail.device)
        moved = F.grid_sample(thumbnail, grid, align_corners=False, padding_mode="reflection")
        again = self.network.kp_detector.detect_small(moved).keypoints
        value, jacobian = losses.equivariance_losses(found, again, warp)
        weights = self.weights
        return {
            "equivariance_value": weights.equivariance_value * value,
            "equivariance_jacobian": weights.equivariance_jacobian * jacobian,
        }

    def _rest(self, target: Tensor) -> Tensor:
        """The occlusion of the unmoved targets, by which the blend is judged."""
        thumbnail = self._thumbnails(target)
        found = self.network.kp_detector.detect_small(thumbnail).keypoints
        return self.network.motion(thumbnail, found, found).occlusion[:, 0]

    def _draw(self, target: Tensor, edge_map: Tensor | None, motion: DenseMotion, rest: Tensor | None) -> Tensor:
        with _half(target.device):
            features = self.network.generator.encode(target)
            drawn = self.network.render(target, features.float(), edge_map, motion, rest=rest)
        return drawn.prediction.float()

    def _thumbnails(self, pictures: Tensor) -> Tensor:
        size, small = pictures.shape[-1], self.network.config.map_size
        if size == self.network.config.size:
            return self.network.kp_detector.down(pictures)
        stride = size // small
        if stride * small != size or stride % 2:
            # Only an even stride has its blocks' middle between pixels, where an even kernel is centred.
            raise OptionError(
                f"training pictures of {size} px", f"a multiple of {2 * small}", "Change the stage's size."
            )
        # The same blur, counted in pixels of the smaller picture.
        kernel = gaussian_kernel(1 / (1 + 3 * stride / 4), even=True).to(pictures)
        return to_nchw(antialias_down(to_nhwc(pictures), kernel, stride))


@contextmanager
def _half(device: torch.device) -> Iterator[None]:
    """The decoder learns in bfloat16; keypoints and flow stay in float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16):
        yield
