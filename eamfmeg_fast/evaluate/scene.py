"""A fixed clip of the lab, what the float64 reference draws for it, and how far something else is from that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.network import Network

Array = np.ndarray[Any, Any]
EQUAL_DB = 120.0
"""What PSNR is called when two pictures are the same; a single level in a single pixel is below."""

_CLIP_S = 0.7
_TARGET, _DRIVER, _SEED = HELD_OUT_SEEDS[2], HELD_OUT_SEEDS[1], 1


@dataclass(frozen=True)
class Scene:
    """A target picture uint8 `[S, S, 3]` and driving frames uint8 `[N, S, S, 3]`, the first of them at rest."""

    target: Array
    frames: Array

    def save(self, path: Path) -> None:
        """Write to a `.npz` file."""
        np.savez(path, target=self.target, frames=self.frames)


@dataclass(frozen=True)
class Truth:
    """What float64 draws.

    Attributes:
        numbers: of the frames, `[F]`. predictions: float64 `[F, 3, S, S]` in [0, 1]. kp: float64 `[F, K, 2]`.
    """

    numbers: Array
    predictions: Array
    kp: Array

    def save(self, path: Path) -> None:
        """Write to a `.npz` file."""
        np.savez(path, numbers=self.numbers, predictions=self.predictions, kp=self.kp)


@dataclass(frozen=True)
class Accuracy:
    """Distance from the float64 reference.

    Attributes:
        psnr_db: of the 8-bit pictures, all frames together; `EQUAL_DB` when they are the same.
        off_by_more: share of 8-bit values that differ by more than one level.
        keypoint_shift_px: largest shift of a detected keypoint along x or y, in pixels of the picture.
        float_psnr_db: of the predictions before rounding, where they are to be had.
    """

    psnr_db: float
    off_by_more: float
    keypoint_shift_px: float
    float_psnr_db: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The figures as plain values."""
        return asdict(self)


def lab_scene(size: int = 256, frames: int = 60) -> Scene:
    """Two people who never lived; all frames differ, with the camera's noise on them.

    Args:
        size: pixels on a side. frames: of the driving clip.
    """
    neutral = lab_clip(_TARGET, action_units={}, size=size, fps=25, seed=_SEED, duration_s=0.1)
    fps = max(25, math.ceil(frames / _CLIP_S))
    units = {1: 1.0, 2: 1.0, 12: 1.0}
    clip = lab_clip(_DRIVER, action_units=units, size=size, fps=min(fps, 1000), seed=_SEED, duration_s=0.5).frames
    # A clip that is too short is played to and fro, so that motion never jumps.
    rows = np.pad(np.arange(len(clip)), (0, max(0, frames - len(clip))), mode="reflect")[:frames]
    return Scene(neutral.frames[0].numpy().copy(), clip.numpy()[rows])


def load_scene(path: Path) -> Scene:
    """What `Scene.save` wrote."""
    with np.load(path) as kept:
        return Scene(kept["target"], kept["frames"])


def load_truth(path: Path) -> Truth:
    """What `Truth.save` wrote."""
    with np.load(path) as kept:
        return Truth(kept["numbers"], kept["predictions"], kept["kp"])


def truth_of(network: Network, scene: Scene, count: int = 4) -> Truth:
    """`count` frames spread over the scene, drawn by the reference network in float64, driven from the first frame."""
    engine = Engine(network, backend="reference", precision="fp64", device="cpu")
    numbers = np.unique(np.linspace(0, len(scene.frames) - 1, count + 1).round().astype(int)[1:])
    drawn = [engine.trace(scene.target, scene.frames[0], scene.frames[k]) for k in numbers]
    return Truth(
        numbers, np.concatenate([d["prediction"] for d in drawn]), np.concatenate([d["kp_driving"] for d in drawn])
    )


def accuracy(truth: Truth, pictures: Sequence[Array], kp: Sequence[Array]) -> Accuracy:
    """How far pictures and detected keypoints of the frames `truth.numbers` are from the truth.

    Args:
        pictures: uint8 `[S, S, 3]`, or predictions floating point `[3, S, S]` in [0, 1].
        kp: `[K, 2]` each.
    """
    size = truth.predictions.shape[-1]
    found = np.stack([np.asarray(picture) for picture in pictures])
    exact = None
    if found.dtype != np.uint8:
        exact = _db(float(((found - truth.predictions) ** 2).mean()), 300.0)
        found = _levels(found)
    error = np.abs(found.astype(np.float64) - _levels(truth.predictions))
    shift = np.abs(np.stack([np.asarray(points, np.float64) for points in kp]) - truth.kp).max() * size / 2
    return Accuracy(_db(float((error**2).mean()) / 255**2), float((error > 1).mean()), float(shift), exact)


def _levels(predictions: Array) -> Array:
    """`[F, 3, S, S]` in [0, 1] as 8-bit levels `[F, S, S, 3]`, halves up as `to_image` rounds them."""
    scaled = np.nan_to_num(predictions.astype(np.float64)).clip(0, 1) * 255
    levels: Array = np.floor(scaled + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return levels


def _db(mean_squared: float, most: float = EQUAL_DB) -> float:
    """-10 log10, at most `most`; NaN stays NaN."""
    return most if mean_squared <= 10 ** (-most / 10) else float(-10 * np.log10(mean_squared))
