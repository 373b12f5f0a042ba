"""What the engine keeps between frames, and what a frame gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eamfmeg_fast.network import Keypoints


class Projections(NamedTuple):
    """The target's features through the attention's 1x1 convolutions, without their biases, `[B, h, w, .]`.

    A 1x1 convolution commutes with the warp and with the occlusion; its bias does not.
    """

    query: Tensor | None
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class TargetState:
    """Everything that depends on the target alone, computed once; `stacked` holds several targets in one.

    Attributes:
        picture: `[B, 3, H, W]` in [0, 1], what the flow moves: for presets that blend the warped target in, without
            its grain.
        grain: `[B, 3, H, W]`, the camera's, which stays where it is; None for the other presets.
        thumbnail: `[B, 3, h, w]`, antialiased.
        keypoints: the target's.
        edge_map: `[B, h, w]` or None.
        features: `[B, C, h, w]`, the encoder's.
        rest: `[B, h, w]`, the occlusion of the unmoved target; None for presets that do not count in it.
        projections: for backends that attend along the flow.
    """

    picture: Tensor
    thumbnail: Tensor
    keypoints: Keypoints
    edge_map: Tensor | None
    features: Tensor
    grain: Tensor | None = None
    projections: Projections | None = None
    rest: Tensor | None = None


class Drawn(NamedTuple):
    """What a backend draws.

    Attributes:
        images: uint8 `[B, H, W, 3]`. flow: `[B, h, w, 2]`, absolute sampling grid. occlusion: `[B, 1, h, w]`.
        active: share of the decoder that was computed for it.
    """

    images: Tensor
    flow: Tensor
    occlusion: Tensor
    active: float = 1.0


@dataclass(frozen=True)
class FrameResult:
    """One drawn frame.

    Attributes:
        image: uint8 `[H, W, 3]` RGB.
        moved: the target's keypoints as moved for this frame.
        flow: `[1, h, w, 2]`, absolute sampling grid; occlusion: `[1, 1, h, w]`.
        active: share of the decoder that was computed for it: 1 unless the engine updates sparsely or repeats a frame.
    """

    image: np.ndarray[Any, np.dtype[np.uint8]]
    moved: Keypoints
    flow: Tensor
    occlusion: Tensor
    active: float = 1.0


def stacked(states: Sequence[TargetState]) -> TargetState:
    """Several targets as one state with B > 1; the states themselves stay as they are."""
    first = states[0]
    if len(states) == 1:
        return first

    def together(*parts: Tensor | None) -> Any:
        known = [part for part in parts if part is not None]
        return torch.cat(known) if known else None

    return TargetState(
        picture=together(*(s.picture for s in states)),
        thumbnail=together(*(s.thumbnail for s in states)),
        keypoints=Keypoints(*(together(*parts) for parts in zip(*(s.keypoints for s in states)))),
        edge_map=together(*(s.edge_map for s in states)),
        features=together(*(s.features for s in states)),
        grain=together(*(s.grain for s in states)),
        rest=together(*(s.rest for s in states)),
        projections=None
        if first.projections is None
        else Projections(*(together(*parts) for parts in zip(*(s.projections or () for s in states)))),
    )


def placed(points: Keypoints, like: Tensor) -> Keypoints:
    """Keypoints on the device and in the type of `like`: those of a motion file come in float32 from the CPU."""
    same = points.kp.device == like.device and points.kp.dtype == like.dtype
    return points if same else Keypoints(*(x.to(like.device, like.dtype) for x in points))
