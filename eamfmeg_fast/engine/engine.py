"""The engine: prepare a target once, then one step per driving frame. Knows no files and no cameras."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eamfmeg_fast.engine.backends import Plan, choose_backend, exact
from eamfmeg_fast.engine.state import FrameResult, TargetState
from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.to_image.reference import to_image
from eamfmeg_fast.network import DenseMotion, Keypoints, Network, Rendering, move
from eamfmeg_fast.network.grain import split_grain

MOTIONS = ("relative", "absolute")


class Engine:
    """Runs one network on one device.

    Args:
        network: with its weights, set to evaluation; copied if the plan wants another device or type.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32" or "fp64". Keypoints, Jacobians and flow are never computed in less than float32.
        backend: "auto" or "reference".

    Raises:
        OptionError: no such precision or backend. BackendError: it cannot run here.
    """

    def __init__(
        self, network: Network, *, device: str = "auto", precision: str = "auto", backend: str = "auto"
    ) -> None:
        self.plan = choose_backend(backend, device, precision)
        self.config = network.config
        self.network = _placed(network, self.plan).eval()

    @exact
    def prepare(self, target: np.ndarray[Any, Any]) -> TargetState:
        """All that depends on the target alone; `target` is uint8 `[H, W, 3]` RGB of the network's size."""
        picture = self.picture(target)
        detection = self.network.kp_detector(picture)
        base, grain = split_grain(picture) if self.config.skip else (picture, None)
        return TargetState(
            picture=base,
            grain=grain,
            thumbnail=self.network.generator.dense_motion_network.down(picture),
            keypoints=detection.keypoints,
            edge_map=self.network.edges(detection.features),
            features=self.network.generator.encode(picture),
        )

    @exact
    def detect(self, frame: np.ndarray[Any, Any]) -> Keypoints:
        """Keypoints and Jacobians of a frame, uint8 `[H, W, 3]` RGB of the network's size."""
        keypoints: Keypoints = self.network.kp_detector(self.picture(frame)).keypoints
        return keypoints

    @exact
    def step(
        self,
        state: TargetState,
        initial: Keypoints,
        driving: Keypoints,
        *,
        motion: str = "relative",
        gain: float | None = None,
    ) -> FrameResult:
        """Draw the target of `state` moved as `driving` moved since `initial`.

        Args:
            motion: "relative", or "absolute" (the driving keypoints as they are; `initial` is not used).
            gain: of keypoint displacements; None is the preset's.
        """
        moved = self.moved(state.keypoints, initial, driving, motion=motion, gain=gain)
        dense, rendering = self._draw(state, moved)
        image = to_image(rendering.prediction.permute(0, 2, 3, 1))[0]
        return FrameResult(image.cpu().numpy(), moved, dense.flow, dense.occlusion)

    def moved(
        self, target: Keypoints, initial: Keypoints, driving: Keypoints, *, motion: str, gain: float | None
    ) -> Keypoints:
        """The target's keypoints for one driving frame.

        Raises:
            OptionError: no such motion.
        """
        if motion not in MOTIONS:
            raise OptionError(f"motion {motion!r}", " or ".join(MOTIONS), "Check the spelling.")
        if motion == "absolute":
            return driving
        gain = self.config.gain if gain is None else gain
        return move(target, initial, driving, gain=gain, adapt_scale=self.config.adapt_scale)

    def picture(self, image: np.ndarray[Any, Any]) -> Tensor:
        """uint8 `[H, W, 3]` RGB as `[1, 3, H, W]` in [0, 1] of the plan's type and device.

        Raises:
            DtypeError, ShapeError: it is something else.
        """
        size = self.config.size
        if image.dtype != np.uint8:
            raise DtypeError(f"a picture of type {image.dtype}", "uint8", "Scale it to 0...255 and convert it.")
        if image.shape != (size, size, 3):
            raise ShapeError(
                f"a picture of shape {list(image.shape)}", f"[{size}, {size}, 3] RGB", "Crop and resize it first."
            )
        x = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(self.plan.device)
        return (x.to(self.plan.dtype) / 255).permute(2, 0, 1)[None]

    def _draw(self, state: TargetState, moved: Keypoints) -> tuple[DenseMotion, Rendering]:
        dense = self.network.motion(state.thumbnail, state.keypoints, moved)
        return dense, self.network.render(state.picture, state.features, state.edge_map, dense, state.grain)

    @exact
    def trace(
        self,
        target: np.ndarray[Any, Any],
        initial: np.ndarray[Any, Any],
        driving: np.ndarray[Any, Any],
        *,
        motion: str = "relative",
        gain: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Every intermediate of one frame, in the network's own shapes; a stage that the preset lacks is absent.

        Convention:
            `flow` is the absolute sampling grid; `features_warped` is after the occlusion.
        """
        state, start = self.prepare(target), self.detect(initial)
        found = self.network.kp_detector(self.picture(driving))
        moved = self.moved(state.keypoints, start, found.keypoints, motion=motion, gain=gain)
        dense, drawn = self._draw(state, moved)
        stages = _target_stages(state) | _motion_stages(dense) | _drawn_stages(drawn)
        stages |= {"kp_logits": found.logits, "kp_features": found.features}
        stages["sparse_motion"] = self.network.generator.dense_motion_network.sparse_grids(dense)
        everybody = {"target": state.keypoints, "initial": start, "driving": found.keypoints, "moved": moved}
        for name, points in everybody.items():
            stages |= {f"kp_{name}": points.kp, f"jacobian_{name}": points.jacobian}
        return {name: stage.cpu().numpy() for name, stage in stages.items() if stage is not None}


def _target_stages(state: TargetState) -> dict[str, Tensor | None]:
    return {"target_small": state.thumbnail, "target_features": state.features, "edge_map": state.edge_map}


def _motion_stages(dense: DenseMotion) -> dict[str, Tensor | None]:
    return {
        "sparse_warped": dense.inputs.unflatten(1, (-1, 4))[:, :, 1:],
        "dense_motion_input": dense.inputs,
        "dense_motion_features": dense.features,
        "mask": dense.mask,
        "flow": dense.flow,
        "occlusion": dense.occlusion,
    }


def _drawn_stages(drawn: Rendering) -> dict[str, Tensor | None]:
    stages = {name: value for name, value in drawn._asdict().items() if name != "up"}
    return stages | {f"up_{i}": stage for i, stage in enumerate(drawn.up)}


def _placed(network: Network, plan: Plan) -> Network:
    """`network` where and how the plan wants it; the caller's own stays as it is."""
    first = next(network.parameters())
    if (first.device, first.dtype) == (plan.device, plan.dtype):
        return network
    return copy.deepcopy(network).to(plan.device, plan.dtype)
