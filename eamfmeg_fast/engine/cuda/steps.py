"""What is done for one frame, as functions from tensors to tensors: nothing here waits for the device or asks it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.engine.cuda.decoder import Decoder
from eamfmeg_fast.engine.cuda.front import Detector, MotionFinder
from eamfmeg_fast.engine.cuda.layers import Place
from eamfmeg_fast.engine.cuda.relative import moved_by
from eamfmeg_fast.engine.cuda.target import Encoder, TargetMaps
from eamfmeg_fast.engine.cuda.tuning import Tuner
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.grain import split_grain
from eamfmeg_fast.network.layers import to_nchw


class Steps:
    """A network's work on one device.

    Args:
        types: of the decoder: the one to begin with and, where numbers may outgrow it, a wider one.
    """

    def __init__(self, parameters: Parameters, device: torch.device, types: tuple[torch.dtype, ...]) -> None:
        self.config = parameters.config
        self.tuner = Tuner()
        front = Place(device, torch.float32, self.tuner)
        self._detector, self._motion = Detector(parameters, front), MotionFinder(parameters, front)
        self._encoder = Encoder(parameters, front)
        self.decoders = [Decoder(parameters, Place(device, dtype, self.tuner)) for dtype in types]

    def prepare(self, pictures: Tensor, dtype: torch.dtype) -> TargetState:
        """All that depends on the targets alone, from uint8 `[B, H, W, 3]`; features in the decoder's type."""
        thumbnails = self._detector.thumbnails(pictures)
        keypoints, found = self._detector.detect(thumbnails)
        picture = pictures.float() / 255
        features = self._encoder.encode(picture)
        base, grain = split_grain(to_nchw(picture)) if self.config.skip else (to_nchw(picture), None)
        rest = None
        if self.config.counts_from_rest:
            own = moved_by(keypoints, None, keypoints, keypoints.kp, keypoints.kp.shape[0])
            rest = self._motion.find(thumbnails, keypoints, *own).occlusion
        return TargetState(
            picture=base,
            thumbnail=to_nchw(thumbnails),
            keypoints=keypoints,
            edge_map=self._detector.edges(found),
            features=to_nchw(features.to(dtype)),
            grain=grain,
            rest=rest,
            projections=self._encoder.project(features, dtype),
        )

    def detect(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and Jacobians of uint8 `[B, H, W, 3]`."""
        return self._detector.detect(self._detector.thumbnails(frames))[0]

    def draw(self, decoder: int, moved: Keypoints, maps: TargetMaps) -> tuple[Tensor, ...]:
        """Pictures, flow, occlusion, and int32 `[1]`: 1 if a number outgrew the decoder's type."""
        batch = moved.kp.shape[0]
        return self._draw(decoder, *moved_by(maps.keypoints, None, moved, moved.kp, batch), maps.expanded(batch))

    def frame(
        self, decoder: int, frames: Tensor, initial: Keypoints | None, factor: Tensor, maps: TargetMaps
    ) -> tuple[Tensor, ...]:
        """Everything between a driving frame and its picture.

        Args:
            frames: uint8 `[B, H, W, 3]`. initial: of one frame; None: the driving keypoints are taken as they are.
            factor: of keypoint displacements: the gain times the scale, one number or one for each target.

        Returns:
            as `draw`, and the driving keypoints and Jacobians.
        """
        driving = Keypoints(*self.detect(frames))
        batch = max(frames.shape[0], maps.target_kp.shape[0])
        moved, affine = moved_by(maps.keypoints, initial, driving, factor, batch)
        return *self._draw(decoder, moved, affine, maps.expanded(batch)), *driving

    def _draw(self, decoder: int, moved: Keypoints, affine: Tensor, maps: TargetMaps) -> tuple[Tensor, ...]:
        motion = self._motion.find(maps.thumbnail, maps.keypoints, moved, affine)
        flag = torch.zeros(1, dtype=torch.int32, device=affine.device)
        return self.decoders[decoder].draw(maps, motion, flag), *motion, flag
