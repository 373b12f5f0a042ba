"""What the caller hands in, held to what the engine's kernels read without asking: pictures, targets, keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.engine.backends import Plan
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.errors import DtypeError, InputError, ShapeError
from eamfmeg_fast.network import Keypoints

_FIX = "Prepare it with this engine."


def as_batch(images: Sequence[np.ndarray[Any, Any]], size: int) -> Tensor:
    """uint8 `[B, size, size, 3]` of pictures of that size; the caller's own memory where it is one picture.

    Raises:
        DtypeError, ShapeError: one is something else.
    """
    for image in images:
        if image.dtype != np.uint8:
            raise DtypeError(f"a picture of type {image.dtype}", "uint8", "Scale it to 0...255 and convert it.")
        if image.shape != (size, size, 3):
            raise ShapeError(
                f"a picture of shape {list(image.shape)}", f"[{size}, {size}, 3] RGB", "Crop and resize it first."
            )
    if len(images) == 1:
        return torch.from_numpy(np.require(images[0], requirements=["C", "W"]))[None]
    return torch.from_numpy(np.stack(images))


def check_state(state: TargetState, config: NetworkConfig, plan: Plan) -> None:
    """A target must have been prepared for this network, on this device, by a backend of this kind.

    Raises:
        ShapeError: another network or size. InputError: another device, type or backend.
    """
    batch, cells, size = state.keypoints.kp.shape[0], config.map_size, config.size
    channels = min(config.generator_max_features, config.generator_expansion * 2**config.down_blocks)
    wanted = {
        "picture": (batch, 3, size, size),
        "thumbnail": (batch, 3, cells, cells),
        "features": (batch, channels, cells, cells),
        "edge_map": (batch, cells, cells) if config.edge else None,
        "rest": (batch, cells, cells) if config.counts_from_rest else None,
    }
    for name, shape in wanted.items():
        found: Tensor | None = getattr(state, name)
        given = None if found is None else tuple(found.shape)
        if given != shape:
            raise ShapeError(f"a target whose {name} is {_words(given)}", f"{_words(shape)} for this network", _FIX)
    check_keypoints(state.keypoints, config)
    kp = state.keypoints.kp
    if kp.device.type != plan.device.type or kp.dtype != plan.dtype:
        given_kind = f"a target in {kp.dtype} on {kp.device}"
        raise InputError(given_kind, f"{plan.dtype} on {plan.device}", _FIX)
    if plan.backend == "cpu" and config.attention and state.projections is None:
        raise InputError("a target that another backend prepared", "one of backend 'cpu'", _FIX)


def check_keypoints(points: Keypoints, config: NetworkConfig) -> None:
    """Keypoints must be as many as the network has.

    Raises:
        ShapeError: they are not.
    """
    count = config.num_kp
    good = points.kp.ndim == 3 and points.kp.shape[1:] == (count, 2)
    if not good or points.jacobian.shape != (points.kp.shape[0], count, 2, 2):
        given = f"keypoints {_words(tuple(points.kp.shape))} with Jacobians {_words(tuple(points.jacobian.shape))}"
        raise ShapeError(given, f"[B, {count}, 2] and [B, {count}, 2, 2]", "Use those that this network detects.")


def _words(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
