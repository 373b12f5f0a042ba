"""How faithfully an output clip repeats the motion of its driving clip: six figures from pictures alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from eamfmeg_fast.errors import InputError
from eamfmeg_fast.evaluate.flow_cells import CELLS, CellMotion, grey_thumbnail

Array = np.ndarray[Any, Any]

MIN_FRAMES = 3
_MARGIN = 2
_ACTIVE, _STILL = 0.85, 0.5
_TINY = 1e-9
_EQUAL_DB = 99.0

INNER: Array = np.zeros((CELLS, CELLS), bool)
"""Cells that are measured: the outermost two rows and columns see motion into and out of the picture."""
INNER[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True


@dataclass(frozen=True)
class Fidelity:
    """How faithful one output clip is. Flow is what `CellMotion` gives.

    Attributes:
        corr: correlation of the two flows over (frame, active cell, x and y); 1 is perfect, 0 unrelated or still.
            Active cells are those whose largest motion in the driving clip is in its upper 15 %.
        gain: least-squares slope of output over driving there; 1 is as strong.
        leak: rms flow of the output in still cells (the lower half) over the driving clip's own.
        sharp: median Laplacian variance of output frames over the target picture's.
        start: PSNR of the first output frame to the target picture, dB; 99 when equal.
        flicker: rms of the second temporal difference over the deviation of the first output frame, percent.
    """

    corr: float
    gain: float
    leak: float
    sharp: float
    start: float
    flicker: float

    def to_dict(self) -> dict[str, float]:
        """The figures as plain values."""
        return asdict(self)


class FidelityMeter:
    """Measures pairs of frames as they come; memory does not grow with them but for one number each.

    Args:
        target: the target picture, grey, uint8 `[128, 128]`; None: the output's own first frame, which makes `sharp`
            and `start` say little.

    Attributes:
        frames: pairs taken so far. driving_cells, output_cells: motion of the latest pair, `[16, 16, 2]`, as
            `CellMotion.step`; zero for the first pair.
    """

    def __init__(self, target: Array | None = None) -> None:
        self.frames = 0
        self.driving_cells = self.output_cells = np.zeros((CELLS, CELLS, 2), np.float32)
        self._target = target
        self._motions: tuple[CellMotion, CellMotion] | None = None
        self._peak = np.zeros((CELLS, CELLS))
        # Sums over frames, by cell and x, y: which cells are active is known only at the end.
        self._sums = {name: np.zeros((CELLS, CELLS, 2)) for name in ("x", "y", "xx", "xy", "yy")}
        self._detail: list[float] = []
        self._past: list[Array] = []
        self._bend, self._contrast, self._start = 0.0, 0.0, 0.0

    def step(self, driving: Array, output: Array) -> None:
        """Take one pair of frames, grey, uint8 `[128, 128]` each (`grey_thumbnail`).

        Raises:
            ShapeError: not such frames.
        """
        if self._motions is None:
            self._motions = CellMotion(driving), CellMotion(output)
            self._target = output if self._target is None else self._target
            self._contrast, self._start = float(output.std()), psnr_db(output, self._target)
        else:
            self.driving_cells, self.output_cells = (m.step(g) for m, g in zip(self._motions, (driving, output)))
            self._add(self.driving_cells.astype(np.float64), self.output_cells.astype(np.float64))
        self._detail.append(detail(output))
        self._past = [*self._past[-2:], output.astype(np.float64)]
        if len(self._past) == MIN_FRAMES:
            before, middle, after = self._past
            self._bend += float(((after - 2 * middle + before) ** 2).mean())
        self.frames += 1

    def result(self) -> Fidelity:
        """The figures over all pairs so far.

        Raises:
            InputError: fewer than three pairs came.
        """
        if self.frames < MIN_FRAMES or self._target is None:
            raise InputError(f"{self.frames} frames", f"at least {MIN_FRAMES}", "Score a longer clip.")
        active, still = self.active(), self.still()
        total = {name: float(values[active].sum()) for name, values in self._sums.items()}
        quiet = {name: float(values[still].mean()) / (self.frames - 1) for name, values in self._sums.items()}
        return Fidelity(
            corr=correlation(total, 2 * int(active.sum()) * (self.frames - 1)),
            gain=total["xy"] / (total["xx"] + _TINY),
            leak=math.sqrt(quiet["yy"] / (quiet["xx"] + _TINY)),
            sharp=float(np.median(self._detail)) / max(detail(self._target), _TINY),
            start=self._start,
            flicker=100 * math.sqrt(self._bend / (self.frames - 2)) / max(self._contrast, _TINY),
        )

    def active(self) -> Array:
        """Cells in which the driving clip moves most, bool `[16, 16]`."""
        return INNER & (self._peak >= np.quantile(self._peak[INNER], _ACTIVE))

    def still(self) -> Array:
        """Cells in which the driving clip moves least, bool `[16, 16]`."""
        return INNER & (self._peak <= np.quantile(self._peak[INNER], _STILL))

    def _add(self, x: Array, y: Array) -> None:
        self._peak = np.maximum(self._peak, np.linalg.norm(x, axis=-1))
        for name, values in (("x", x), ("y", y), ("xx", x * x), ("xy", x * y), ("yy", y * y)):
            self._sums[name] += values


def motion_fidelity(driving: Iterable[Array], output: Iterable[Array], target: Array | None = None) -> Fidelity:
    """Compare two clips frame by frame, until the shorter one ends.

    Args:
        driving, output: frames uint8 `[H, W, 3]` RGB of any size; iterators are read once and not kept.
        target: the target picture, the same.

    Raises:
        InputError: fewer than three pairs of frames. ShapeError, DtypeError: no such frames.
    """
    meter = FidelityMeter(None if target is None else grey_thumbnail(target))
    for one, other in zip(driving, output):
        meter.step(grey_thumbnail(one), grey_thumbnail(other))
    return meter.result()


def correlation(total: dict[str, float], count: int) -> float:
    """Pearson's r from the sums x, y, xx, xy, yy over `count` values; 0 where one of the two does not vary."""
    mean = {name: value / count for name, value in total.items()}
    spread_x, spread_y = mean["xx"] - mean["x"] ** 2, mean["yy"] - mean["y"] ** 2
    if spread_x <= _TINY * mean["xx"] or spread_y <= _TINY * mean["yy"]:
        return 0.0
    return float((mean["xy"] - mean["x"] * mean["y"]) / math.sqrt(spread_x * spread_y))


def detail(grey: Array) -> float:
    """Variance of the Laplacian of a grey picture."""
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def psnr_db(first: Array, second: Array) -> float:
    """PSNR of two 8-bit pictures in dB, 99 when they are equal."""
    error = float(((first.astype(np.float64) - second.astype(np.float64)) ** 2).mean())
    return _EQUAL_DB if error == 0 else float(10 * np.log10(255**2 / error))
