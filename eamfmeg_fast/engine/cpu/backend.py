"""Front, encoder and decoder of one network on the CPU."""

from __future__ import annotations

from torch import Tensor

from eamfmeg_fast.engine.backends import Plan
from eamfmeg_fast.engine.cpu.bytes import ByteDecoder
from eamfmeg_fast.engine.cpu.decoder import Decoder
from eamfmeg_fast.engine.cpu.encoder import Encoder
from eamfmeg_fast.engine.cpu.front import Detector, MotionFinder, Thumbnails
from eamfmeg_fast.engine.cpu.sparse import SparseDecoder
from eamfmeg_fast.engine.cpu.workspace import Workspace, give_back
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.processor import multiplies_bf16
from eamfmeg_fast.engine.state import Drawn, TargetState
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.grain import split_grain
from eamfmeg_fast.network.layers import to_nchw

PRODUCTS = {"fp32": "float32", "bf16": "bfloat16"}


class CpuBackend:
    """Runs a network frame by frame with weights packed once and memory made once; see `engine.backend.Backend`."""

    def __init__(self, parameters: Parameters, plan: Plan) -> None:
        self.config = parameters.config
        self.workspace = Workspace()
        self._thumbnails = Thumbnails(parameters)
        # The largest part first: while its weights are packed there are two copies of the one at work.
        self._motion = MotionFinder(parameters, self.workspace)
        self._detector = Detector(parameters, self.workspace)
        self._encoder = Encoder(parameters)
        kind = ByteDecoder if plan.decoder == "int8" else SparseDecoder if plan.update == "sparse" else Decoder
        products = PRODUCTS.get(plan.decoder, "bfloat16" if multiplies_bf16() else "float32")
        self._decoder = kind(parameters, products, self.workspace)
        give_back()

    def prepare(self, pictures: Tensor) -> TargetState:
        """All that depends on the targets alone; uint8 `[B, H, W, 3]`."""
        thumbnails = self._thumbnails(pictures)
        keypoints, features = self._detector.detect(thumbnails)
        edge_map = self._detector.edges(features)
        picture = pictures.float() / 255
        encoded = self._encoder.encode(picture)
        rest = None
        if self.config.counts_from_rest:
            rest = self._motion.find(thumbnails, keypoints, keypoints).occlusion
        base, grain = to_nchw(picture), None
        if self.config.skip:
            base, grain = split_grain(to_nchw(picture))
        return TargetState(
            picture=base,
            thumbnail=to_nchw(thumbnails),
            keypoints=keypoints,
            edge_map=edge_map,
            features=to_nchw(encoded),
            grain=grain,
            rest=rest,
            projections=self._encoder.project(encoded),
        )

    def detect(self, frames: Tensor) -> Keypoints:
        """Keypoints and Jacobians of uint8 `[B, H, W, 3]`."""
        return self._detector.detect(self._thumbnails(frames))[0]

    def draw(self, state: TargetState, moved: Keypoints) -> Drawn:
        """The targets of `state`, one or as many as `moved` has, at the moved keypoints."""
        batch = moved.kp.shape[0]
        target = Keypoints(*(x.expand(batch, *x.shape[1:]) for x in state.keypoints))
        thumbnail = state.thumbnail.permute(0, 2, 3, 1).expand(batch, -1, -1, -1)
        motion = self._motion.find(thumbnail, target, moved)
        pictures = self._decoder.draw(state, motion)
        return Drawn(pictures, motion.flow, motion.occlusion[:, None], self._decoder.active)
