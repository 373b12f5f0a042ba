"""What the engine keeps between frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from eamfmeg_fast.network import Keypoints


@dataclass(frozen=True)
class TargetState:
    """Everything that depends on the target alone, computed once.

    Attributes:
        picture: `[1, 3, H, W]` in [0, 1], what the flow moves: for presets that blend the warped target in, without its
            grain.
        grain: `[1, 3, H, W]`, the camera's, which stays where it is; None for the other presets.
        thumbnail: `[1, 3, h, w]`, antialiased.
        keypoints: the target's.
        edge_map: `[1, h, w]` or None.
        features: `[1, C, h, w]`, the encoder's.
    """

    picture: Tensor
    thumbnail: Tensor
    keypoints: Keypoints
    edge_map: Tensor | None
    features: Tensor
    grain: Tensor | None = None


@dataclass(frozen=True)
class FrameResult:
    """One drawn frame.

    Attributes:
        image: uint8 `[H, W, 3]` RGB.
        moved: the target's keypoints as moved for this frame.
        flow: `[1, h, w, 2]`, absolute sampling grid; occlusion: `[1, 1, h, w]`.
    """

    image: np.ndarray[Any, np.dtype[np.uint8]]
    moved: Keypoints
    flow: Tensor
    occlusion: Tensor
