"""Figures of a result against a truth that is known exactly, on plain arrays: nothing here knows a network or a clip.

Convention:
    Displacements are backward, (x, y), in pixels of a 256-px picture: a driving pixel shows what the target shows at
    the pixel plus its displacement. Maps are `[h, w]`, whatever their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.warp_occlude.reference import warp_cubic

Array = np.ndarray[Any, Any]

SIZE = 256
"""Pixels that displacements are counted in, whatever size the pictures have."""
MOVING_PX = 0.5
"""A pixel moves where its true displacement is longer than this."""
EDGE_LEVEL = 0.35
"""An edge is a ridge higher than this; chosen once, on people for training, and the same for every network."""
_CREASE = 0.02
_LUMA = np.array([0.299, 0.587, 0.114])
_BINS = 8
_WINDOW = 7


@dataclass(frozen=True)
class EndPoint:
    """Errors of a flow, px, means over pixels; NaN where there is no such pixel.

    Attributes:
        moving: where the truth is longer than `MOVING_PX`. motion: length of the truth there. still: elsewhere.
    """

    moving: float
    motion: float
    still: float


def end_point(found: Array, true: Array, known: Array) -> EndPoint:
    """Errors of the flow `found` `[h, w, 2]` against `true`, where `known` `[h, w]`.

    Raises:
        ShapeError: the three are not of one size.
    """
    _alike(found, true)
    _alike(known, true[..., 0])
    length, wrong = (np.linalg.norm(x, axis=-1) for x in (true, found - true))
    moves = length > MOVING_PX
    return EndPoint(_mean(wrong[known & moves]), _mean(length[known & moves]), _mean(wrong[known & ~moves]))


@dataclass(frozen=True)
class Performance:
    """How a flow performs a movement.

    Attributes:
        strength: 1 is as strong as the truth, 0 not at all, negative the opposite.
        likeness: correlation of the two, 1 is the very same movement, however strong.
    """

    strength: float
    likeness: float


def performance(found: Array, field: Array, weight: Array) -> Performance:
    """How `found` `[h, w, 2]` performs the movement `field`, cells counted by `weight` `[h, w]`.

    Slides, turns and changes of size of the whole are fitted beside the movement and left out of both: a head that
    wanders performs nothing. NaN where the field is nothing but that.

    Raises:
        ShapeError: the three are not of one size.
    """
    _alike(found, field)
    _alike(weight, field[..., 0])
    rest = _without_rigid(np.stack([found, field]), weight)
    energy = float(rest[1] @ rest[1])
    if energy <= 1e-6 * float(weight.sum()):
        return Performance(float("nan"), float("nan"))
    along = float(rest[0] @ rest[1])
    return Performance(along / energy, along / max(float(np.sqrt(energy * (rest[0] @ rest[0]))), 1e-9))


@dataclass(frozen=True)
class Course:
    """How a movement was performed over time.

    Attributes:
        correlation: with the true intensity. gain: slope on it, 1 is as strong. apex_error_frames: between the
            strongest frame and the true apex.
    """

    correlation: float
    gain: float
    apex_error_frames: float


def course(strength: Sequence[float], intensity: Sequence[float], numbers: Sequence[int], apex: int) -> Course:
    """Compare the strengths of the frames `numbers` with their true intensities (1 at the frame `apex`).

    Raises:
        ShapeError: not one of each for every frame.
    """
    found, true = np.asarray(strength, np.float64), np.asarray(intensity, np.float64)
    if not found.shape == true.shape == (len(numbers),) or len(numbers) < 3:
        raise ShapeError(
            f"{found.size} strengths, {true.size} intensities, {len(numbers)} frames", "as many, 3 or more"
        )
    a, b = found - found.mean(), true - true.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    correlation = float(a @ b) / scale if scale > 1e-12 else 0.0
    gain = float(a @ b) / max(float(b @ b), 1e-12)
    return Course(correlation, gain, float(abs(numbers[int(found.argmax())] - apex)))


def edge_f_score(found: Array, true: Array, level: float = EDGE_LEVEL, tolerance: int = 1) -> float:
    """F-score of the ridges of an edge map `[h, w]` in [0, 1] against those of the true one; a ridge is found when one
    lies within `tolerance` cells of it. NaN when there are no true ridges.

    Raises:
        ShapeError: maps of two sizes.
    """
    _alike(found, true)
    a, b = ridges(found, level), ridges(true, level)
    if not b.any():
        return float("nan")
    if not a.any():
        return 0.0
    right, recalled = float((a & _widened(b, tolerance)).sum() / a.sum()), float((b & _widened(a, tolerance)).sum())
    recalled /= float(b.sum())
    return 2 * right * recalled / max(right + recalled, 1e-12)


def ridges(edges: Array, level: float) -> Array:
    """Cells higher than `level` that are the top of a line: the highest across the way that falls off fastest."""
    padded = np.pad(np.asarray(edges, np.float64), 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    sides = []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        before, after = (_shifted(padded, sign * dx, sign * dy) for sign in (-1, 1))
        sides.append((before, after, (before + after - 2 * middle) / (dx * dx + dy * dy)))
    bend = np.stack([bent for *_, bent in sides])
    steepest = bend.argmin(0)[None]
    peak = np.stack([(middle >= before) & (middle >= after) for before, after, _ in sides])
    top: Array = np.take_along_axis(peak & (bend < -_CREASE), steepest, 0)[0] & (middle > level)
    return top


def jitter_px(kp: Array) -> float:
    """How far keypoints `[T, K, 2]` of a face at rest wander from their mean places, rms, px; NaN without frames."""
    if not len(kp):
        return float("nan")
    off = np.asarray(kp, np.float64) - np.asarray(kp, np.float64).mean(0)
    return float(np.sqrt((off**2).sum(-1).mean()) * SIZE / 2)


def structure_kept(result: Array, target: Array, displacement_px: Array) -> float:
    """Structural similarity of `result` and the target carried along the result's own flow: 1 is the target's own
    texture everywhere, whatever it does.

    Args:
        result, target: uint8 `[H, W, 3]`. displacement_px: `[H, W, 2]`; pixels whose way leaves the target do not
            count.

    Raises:
        ShapeError: the three are not of one size.
    """
    _alike(result, target)
    _alike(displacement_px[..., 0], target[..., 0])
    height, width = target.shape[:2]
    grid = identity_grid(height, width, "centres", dtype=torch.float32)
    grid = grid + torch.from_numpy(np.ascontiguousarray(displacement_px, np.float32)) * (2 / SIZE)
    carried = warp_cubic(torch.from_numpy(luma(target))[None, ..., None], grid[None])[0, ..., 0]
    inside = (grid.abs() < 1).all(-1).numpy()
    return _mean(similarity(luma(result), carried.numpy())[inside])


def similarity(a: Array, b: Array) -> Array:
    """The structural similarity (SSIM) of two grey pictures `[H, W]`, values 0 to 255, around every pixel."""
    x, y = (torch.from_numpy(np.asarray(p, np.float64))[None, None] for p in (a, b))

    def mean(p: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(p, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    out: Array = ((2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2)))[0, 0].numpy()
    return out


def colour_pull(result: Array, target: Array, driver: Array) -> float:
    """How much of the way from the target's colours to the driver's the result went: 0 has the target's, 1 the
    driver's; by Hellinger distances of RGB histograms. Pictures are uint8 `[H, W, 3]`. NaN when both are alike."""
    histograms = [np.sqrt(_histogram(picture)) for picture in (result, target, driver)]
    to_target, to_driver = (float(np.linalg.norm(histograms[0] - other)) for other in histograms[1:])
    if float(np.linalg.norm(histograms[1] - histograms[2])) < 1e-6:
        return float("nan")
    return to_target / (to_target + to_driver)


def to_cells(field: Array, known: Array, cells: int) -> tuple[Array, Array]:
    """Means of a field `[H, W, C]` over the known pixels of each of `cells` x `cells` cells, and their share."""
    weight = torch.from_numpy(np.ascontiguousarray(known, np.float32))[None, None]
    values = torch.from_numpy(np.ascontiguousarray(field, np.float32)).permute(2, 0, 1)[None]
    share, total = (F.adaptive_avg_pool2d(x, cells) for x in (weight, values * weight))
    return (total / share.clamp(min=1e-3))[0].permute(1, 2, 0).numpy(), share[0, 0].numpy()


def luma(picture: Array) -> Array:
    """Grey levels, float32 `[H, W]`, of uint8 RGB."""
    grey: Array = (picture.astype(np.float64) @ _LUMA).astype(np.float32)
    return grey


def _without_rigid(fields: Array, weight: Array) -> Array:
    """Each of `fields` `[N, h, w, 2]` less the slide, turn and change of size that fit it best, `[N, 2 h w]`."""
    height, width = weight.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    one, zero = np.ones_like(x), np.zeros_like(x)
    ways = [np.stack(way, -1) for way in ((one, zero), (zero, one), (x, y), (-y, x))]
    root = np.sqrt(weight)[..., None]
    basis = np.stack([(way * root).ravel() for way in ways], 1)
    flat = (fields * root).reshape(len(fields), -1).T.astype(np.float64)
    rest: Array = (flat - basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]).T
    return rest


def _histogram(picture: Array) -> Array:
    binned = (picture.reshape(-1, 3) // (256 // _BINS)).astype(np.int64)
    counts = np.bincount(binned @ np.array([_BINS * _BINS, _BINS, 1]), minlength=_BINS**3)
    share: Array = counts / counts.sum()
    return share


def _shifted(padded: Array, dx: int, dy: int) -> Array:
    height, width = padded.shape
    return padded[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]


def _widened(mask: Array, by: int) -> Array:
    wide = F.max_pool2d(torch.from_numpy(mask.astype(np.float32))[None, None], 2 * by + 1, 1, by)
    out: Array = wide[0, 0].numpy() > 0
    return out


def _alike(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ShapeError(f"arrays of {a.shape} and {b.shape}", "one shape")


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
