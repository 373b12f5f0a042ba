"""Dense motion since the first frame of a clip, in coarse cells: what all figures on real clips are made of."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.faces import check_picture

Array = np.ndarray[Any, Any]

SIDE = 128
"""Pixels on a side of the pictures that are measured."""
CELLS = 16
"""Cells on a side; each holds 8x8 of those pixels."""
_CELL_PX = SIDE // CELLS
_CONTRAST, _TILES = 2.0, (4, 4)


def grey_thumbnail(image: Array) -> Array:
    """A picture as it is measured.

    Args:
        image: uint8 `[H, W, 3]` RGB.

    Returns:
        uint8 `[128, 128]`, grey.

    Convention:
        Area averaging, pixel centres at half-integers; a picture that is not square is squeezed.

    Raises:
        ShapeError, DtypeError: not such a picture.
    """
    small = cv2.resize(check_picture(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey: Array = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return grey


class FlowField:
    """Optical flow between grey pictures: OpenCV's DIS (medium) on pictures of evened-out local contrast."""

    def __init__(self) -> None:
        self._even_out = cv2.createCLAHE(_CONTRAST, _TILES)
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def evened(self, grey: Array) -> Array:
        """A grey picture, uint8 `[128, 128]`, as the flow wants it."""
        even: Array = self._even_out.apply(grey)
        return even

    def between(self, first: Array, second: Array) -> Array:
        """Where the pixels of `first` are in `second`, float32 `[128, 128, 2]` in px of these pictures, (x, y).

        Args:
            first, second: uint8 `[128, 128]`, from `evened`.

        Convention:
            Forward: what `first` shows at p, `second` shows at p + flow[p].
        """
        flow: Array = self._flow.calc(first, second, None)  # type: ignore[call-overload]
        return flow


class CellMotion:
    """The motion of a clip since its first frame, frame by frame; only that first frame is kept.

    Args:
        grey: the first frame, uint8 `[128, 128]`.

    Raises:
        ShapeError: not such a frame.
    """

    def __init__(self, grey: Array) -> None:
        self._field = FlowField()
        self._first = self._field.evened(_checked(grey))

    def step(self, grey: Array) -> Array:
        """The motion of one frame, float32 `[16, 16, 2]`: the mean of each cell, (x, y) in px of a 128 px picture.

        The frame's median is taken off, which is how far the head as a whole has moved.

        Raises:
            ShapeError: not a frame like the first one.
        """
        flow = self._field.between(self._first, self._field.evened(_checked(grey)))
        flow = flow - np.median(flow.reshape(-1, 2), axis=0)
        pooled: Array = flow.reshape(CELLS, _CELL_PX, CELLS, _CELL_PX, 2).mean(axis=(1, 3))
        return pooled


def _checked(grey: Array) -> Array:
    if grey.shape != (SIDE, SIDE) or grey.dtype != np.uint8:
        raise ShapeError(f"a frame {list(grey.shape)} of type {grey.dtype}", f"uint8 [{SIDE}, {SIDE}]")
    return grey
