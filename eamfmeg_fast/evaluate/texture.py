"""How much of the driver's own texture is in an output clip."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from eamfmeg_fast.errors import InputError
from eamfmeg_fast.evaluate.flow_cells import SIDE, FlowField

Array = np.ndarray[Any, Any]

_FINE_PX, _COARSE_PX = 1.0, 4.0
_MARGIN_PX = 4
_TINY = 1e-6
_SHIFTS_PX = ((0, 0), (8, 0), (-8, 0), (0, 8), (0, -8))
_TERMS = 5
_LEAST_OWN = 0.3
_FLAT = 1e-3
"""Energy of a texture, grey levels squared per pixel, that is none but rounding."""


class TextureMeter:
    """The share of the driver's fine texture that shows in the output: 0.05 is a ghost of five percent.

    The target is warped onto every output frame by the optical flow between the two. What is left of the output, its
    residual, is explained by least squares over all frames and pixels as a sum of pictures: the driving frame without
    its coarse part (finer than about 4 px of 128), and what an honest result may get wrong: the warped target too
    sharp or too soft (its fine and its middle band), and a little out of place (its two slopes). The weight of the
    driving frame is the figure. Faces are alike, so it is never quite 0; `floor` tells what chance gives. Of a driver
    who looks like the target nothing can be told: the figure needs texture that is the driver's own.

    Args:
        target: grey, uint8 `[128, 128]`.
    """

    def __init__(self, target: Array) -> None:
        self._field = FlowField()
        self._target, self._even = target.astype(np.float32), self._field.evened(target)
        axis = np.arange(SIDE, dtype=np.float32)
        self._x, self._y = np.meshgrid(axis, axis)
        self._gram = np.zeros((len(_SHIFTS_PX), _TERMS, _TERMS))
        self._pull = np.zeros((len(_SHIFTS_PX), _TERMS))
        self.frames = 0

    def step(self, driving: Array, output: Array) -> None:
        """Take one pair of frames, grey, uint8 `[128, 128]` each (`grey_thumbnail`)."""
        flow = self._field.between(self._field.evened(output), self._even)
        x, y = self._x + flow[..., 0], self._y + flow[..., 1]
        warped = cv2.remap(self._target, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        left = _inside(_without_coarse(output.astype(np.float32) - warped)).ravel().astype(np.float64)
        excuses = [_inside(part).ravel() for part in _excuses(warped)]
        texture = _without_coarse(driving.astype(np.float32))
        for row, (right, down) in enumerate(_SHIFTS_PX):
            shifted = _inside(np.roll(texture, (down, right), (0, 1))).ravel()
            columns = np.stack([shifted, *excuses]).astype(np.float64)
            self._gram[row] += columns @ columns.T
            self._pull[row] += columns @ left
        self.frames += 1

    def share(self) -> float:
        """The weight of the driver's texture in the output; NaN where too little of that texture is the driver's own.

        Raises:
            InputError: no frame came.
        """
        return float(self._weights()[0]) if self.own() >= _LEAST_OWN else math.nan

    def own(self) -> float:
        """What part of the energy of the driver's texture the warped target's cannot explain: 0 when they are one, or
        there is none.

        Raises:
            InputError: no frame came.
        """
        gram = self._steady()[0]
        energy, explained = self._gram[0, 0, 0], gram[0, 1:] @ np.linalg.solve(gram[1:, 1:], gram[1:, 0])
        return float(max(0.0, 1 - explained / energy)) if energy > _FLAT * self.frames * SIDE**2 else 0.0

    def floor(self) -> float:
        """The rms weight of the driver's texture where it cannot be: shifted by 8 px of 128.

        Raises:
            InputError: no frame came.
        """
        return float(np.sqrt((self._weights()[1:] ** 2).mean()))

    def _weights(self) -> Array:
        weights: Array = np.linalg.solve(self._steady(), self._pull[..., None])[:, 0, 0]
        return weights

    def _steady(self) -> Array:
        """The Gram matrices, solvable whatever came."""
        if not self.frames:
            raise InputError("no frames", "at least one", "Score a longer clip.")
        least = np.maximum(_TINY * np.trace(self._gram, axis1=1, axis2=2), _TINY)
        steady: Array = self._gram + least[:, None, None] * np.eye(_TERMS)
        return steady


def _excuses(warped: Array) -> list[Array]:
    """What an honest result may differ by: fine band, middle band, slopes along x and y."""
    fine = warped - cv2.GaussianBlur(warped, (0, 0), _FINE_PX)
    whole = _without_coarse(warped)
    slopes = [cv2.Sobel(warped, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(warped, cv2.CV_32F, 0, 1, scale=0.125)]
    return [fine, whole - fine, *slopes]


def _without_coarse(picture: Array) -> Array:
    fine: Array = picture - cv2.GaussianBlur(picture, (0, 0), _COARSE_PX)
    return fine


def _inside(picture: Array) -> Array:
    return picture[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]
