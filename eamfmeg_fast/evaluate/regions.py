"""The motion of each part of a face over time, where the network's keypoints say that the part is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eamfmeg_fast.evaluate.fidelity import INNER
from eamfmeg_fast.evaluate.flow_cells import CELLS, SIDE
from eamfmeg_fast.lab import LANDMARKS

Array = np.ndarray[Any, Any]

REGIONS = ("brows", "eyes", "nose", "mouth", "rest")
SHOWN_PX = 256
"""Displacements are given in pixels of a picture of this side."""
_REACH = 1.5
_PARTS = {"brows": ("brow",), "eyes": ("lid", "eye"), "nose": ("nose",), "mouth": ("lip",)}


@dataclass(frozen=True)
class FaceRegions:
    """Which cells belong to which part of one face.

    Attributes:
        cells: bool `[16, 16]` by name, in the order of `REGIONS`; "rest" is every other cell that is measured.
        outwards: `[16]`, -1 for the columns left of the face's middle, 1 right of it.
    """

    cells: dict[str, Array]
    outwards: Array

    def mean_px(self, motion: Array) -> Array:
        """The mean motion of every region, `[5, 2]` in px at 256: away from the face's middle, and down.

        Args:
            motion: `[16, 16, 2]` as `CellMotion.step`.
        """
        scaled = motion * (SHOWN_PX / SIDE)
        scaled = np.stack([scaled[..., 0] * self.outwards, scaled[..., 1]], -1)
        return np.stack([scaled[mask].mean(0) if mask.any() else np.zeros(2) for mask in self.cells.values()])


def find_regions(kp: Array) -> FaceRegions:
    """The regions of a face from its keypoints, which follow the order of `lab.LANDMARKS`.

    Args:
        kp: `[K, 2]`, (x, y) in [-1, 1], K at least 10. Without a keypoint on the nose, the nose is taken to be
            halfway between the lids and the upper lip.

    Convention:
        -1 and 1 are the outer edges of the picture; a cell belongs to a region when its centre is within 1.5 cells of
        one of the region's keypoints, and to the nearest where there are several.
    """
    places = dict(zip(LANDMARKS, np.asarray(kp, np.float64)))
    lids = (places["upper_lid_left"] + places["upper_lid_right"]) / 2
    places.setdefault("nose_tip", (lids + places["upper_lip"]) / 2)
    axis = (2 * np.arange(CELLS) + 1) / CELLS - 1
    centres = np.stack(np.meshgrid(axis, axis), -1)
    near = np.stack([_distance(centres, [p for name, p in places.items() if _is(name, words)])
                     for words in _PARTS.values()])  # fmt: skip
    nearest = np.where(near.min(0) <= _REACH * 2 / CELLS, near.argmin(0), len(_PARTS))
    cells = {name: INNER & (nearest == index) for index, name in enumerate(REGIONS)}
    middle = float(np.mean([places[name][0] for name in places if name.endswith(("_left", "_right"))]))
    return FaceRegions(cells, np.where(axis < middle, -1.0, 1.0))


@dataclass
class RegionCurves:
    """Motion per region over the frames of a clip and of its driver.

    Attributes:
        driving, output: regions of the two faces. rows: `[2, 5, 2]` for each frame: driving and output, px at 256.
    """

    driving: FaceRegions
    output: FaceRegions
    rows: list[Array] = field(default_factory=list)

    def step(self, driving: Array, output: Array) -> None:
        """Take the cells of one pair of frames, `[16, 16, 2]` each as `CellMotion.step`."""
        self.rows.append(np.stack([self.driving.mean_px(driving), self.output.mean_px(output)]))

    def curves(self) -> Array:
        """`[2, 5, 2, T]`: driving and output, `REGIONS`, (outwards, down), frames; px at 256."""
        return np.moveaxis(np.stack(self.rows), 0, -1)

    def figures(self) -> dict[str, dict[str, float]]:
        """By region: `corr` of the two curves, `gain` (slope of output over driving), `peak_px` of the driving one."""
        found = {}
        for name, x, y in zip(REGIONS, *self.curves()):
            spread = float(x.std() * y.std())
            corr = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1e-9 else 0.0
            gain = float((x * y).sum() / max(float((x * x).sum()), 1e-9))
            found[name] = {"corr": corr, "gain": gain, "peak_px": float(np.linalg.norm(x, axis=0).max())}
        return found


def _is(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name.split("_") for word in words)


def _distance(centres: Array, points: list[Array]) -> Array:
    """Way from every cell to the nearest of some points."""
    away: Array = np.linalg.norm(centres[None] - np.stack(points)[:, None, None], axis=-1).min(0)
    return away
