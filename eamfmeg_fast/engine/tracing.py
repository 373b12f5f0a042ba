"""Every intermediate of one frame, in the network's own shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from eamfmeg_fast.engine.reference import ReferenceBackend
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.network import DenseMotion, Detection, Keypoints, Rendering


def trace(
    oracle: ReferenceBackend, state: TargetState, initial: Keypoints, found: Detection, moved: Keypoints
) -> dict[str, np.ndarray[Any, Any]]:
    """The stages between a prepared target, the initial keypoints and a driving frame's detection, by name."""
    motion, drawn = oracle.steps(state, moved)
    stages = _target_stages(state) | _motion_stages(motion) | _drawn_stages(drawn)
    stages |= {"kp_logits": found.logits, "kp_features": found.features}
    stages["sparse_motion"] = oracle.network.generator.dense_motion_network.sparse_grids(motion)
    everybody = {"target": state.keypoints, "initial": initial, "driving": found.keypoints, "moved": moved}
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
