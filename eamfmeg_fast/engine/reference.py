"""The slow backend: the network as published."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from eamfmeg_fast.engine.state import Drawn, TargetState
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.to_image.reference import to_image
from eamfmeg_fast.network import DenseMotion, Detection, Keypoints, Network, Rendering
from eamfmeg_fast.network.grain import split_grain
from eamfmeg_fast.network.stillness import settle_flow


class Steps(NamedTuple):
    """Everything that one frame passes through."""

    motion: DenseMotion
    rendering: Rendering


class ReferenceBackend:
    """Runs the reference network itself; see `engine.backends.Backend`.

    Args:
        network: copied if it is elsewhere or of another type.
    """

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype) -> None:
        first = next(network.parameters())
        if (first.device, first.dtype) != (device, dtype):
            network = copy.deepcopy(network).to(device, dtype)
        self.network, self.device, self.dtype = network.eval(), device, dtype

    def prepare(self, pictures: Tensor) -> TargetState:
        """All that depends on the targets alone."""
        picture = self.normalised(pictures)
        detection = self.network.kp_detector(picture)
        base, grain = split_grain(picture) if self.network.config.skip else (picture, None)
        state = TargetState(
            picture=base,
            grain=grain,
            thumbnail=self.network.generator.dense_motion_network.down(picture),
            keypoints=detection.keypoints,
            edge_map=self.network.edges(detection.features),
            features=self.network.generator.encode(picture),
        )
        if not self.network.config.counts_from_rest:
            return state
        at_rest = self.network.motion(state.thumbnail, state.keypoints, state.keypoints)
        return replace(state, rest=at_rest.occlusion[:, 0])

    def detect(self, frames: Tensor) -> Keypoints:
        """Keypoints and Jacobians of the frames."""
        return self.look(frames).keypoints

    def draw(self, state: TargetState, moved: Keypoints) -> Drawn:
        """The targets at the moved keypoints."""
        steps = self.steps(state, moved)
        images = to_image(steps.rendering.prediction.permute(0, 2, 3, 1))
        return Drawn(images, steps.motion.flow, steps.motion.occlusion)

    def look(self, frames: Tensor) -> Detection:
        """What the detector finds, with its features."""
        found: Detection = self.network.kp_detector(self.normalised(frames))
        return found

    def steps(self, state: TargetState, moved: Keypoints) -> Steps:
        """Everything between the moved keypoints and the picture."""
        batch = moved.kp.shape[0]

        def grown(x: Tensor) -> Tensor:
            return x.expand(batch, *x.shape[1:])

        edge_map = None if state.edge_map is None else grown(state.edge_map)
        grain = None if state.grain is None else grown(state.grain)
        target = Keypoints(*(x.expand(batch, *x.shape[1:]) for x in state.keypoints))
        motion = self._settled(self.network.motion(grown(state.thumbnail), target, moved))
        rest = None if state.rest is None else grown(state.rest)
        drawn = self.network.render(grown(state.picture), grown(state.features), edge_map, motion, grain, rest)
        return Steps(motion, drawn)

    def _settled(self, motion: DenseMotion) -> DenseMotion:
        config, flow = self.network.config, motion.flow
        cells = flow.shape[1:3]
        rest = identity_grid(cells[0], cells[1], config.pixel_grid, dtype=flow.dtype, device=flow.device)
        return motion._replace(flow=settle_flow(flow, rest, config.still_px))

    def normalised(self, pictures: Tensor) -> Tensor:
        """uint8 `[B, H, W, 3]` as `[B, 3, H, W]` in [0, 1] of the backend's type and device."""
        return (pictures.to(self.device).to(self.dtype) / 255).permute(0, 3, 1, 2)
