"""Truth against result: lab faces that were held out, driven by their own clip and by another person's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from eamfmeg_fast.engine import FrameResult
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.evaluate.as_file import drawn_as_file
from eamfmeg_fast.evaluate.truth import (
    MOVING_PX,
    SIZE,
    Array,
    colour_pull,
    course,
    edge_f_score,
    end_point,
    jitter_px,
    performance,
    structure_kept,
    to_cells,
)
from eamfmeg_fast.kernels.geometry import displacement_px
from eamfmeg_fast.lab import ACTION_UNITS, HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.retargeter import Retargeter

FAST_FPS = 200
"""Of the clips in which the apex is looked for."""
_FAST_S = 0.2
_NAN = float("nan")


@dataclass(frozen=True)
class LabScore:
    """How well one lab person's movement was repeated; px are those of a 256-px picture, NaN is "not measured".

    Attributes:
        identity: who. frames: how many were scored.
        psnr: of the whole picture against the clip's frame, dB, mean over frames.
        psnr_moving: inside the moving mask, frames in which something moves; psnr_still: what the unmoved target
            scores there.
        end_point_error_px: of the flow in the moving mask where the truth is known, mean.
        motion_px: length of the true displacement there, mean. error_share: the one by the other.
        still_error_px: of the flow where the truth moves less, in the same frames.
        intensity_corr, intensity_gain: correlation with and slope on the true intensity of how strongly the flow
            performs the true movement, over a clip at `FAST_FPS` drawn as a user's file is, with the default gain and
            all other defaults; apex_error_frames: between its strongest frame and the true apex.
        edge_f: F-score of the edge head; edge_chance: the same against another person's edges.
        cross_likeness, cross_strength: another person driven by the clip, at the apex, against that person's own true
            movement with the same action units. identity_ssim: how much of that target's texture is in the result;
            identity_colour: 0 where the result has the target's colours, 1 where it has the driver's.
        jitter_px: of the keypoints on a still, noisy clip, rms; jitter_processed_px: of what the flow shows at their
            places when that clip is drawn as a user's file is.
    """

    identity: int
    frames: int
    psnr: float
    psnr_moving: float
    psnr_still: float
    end_point_error_px: float
    motion_px: float
    error_share: float
    still_error_px: float
    intensity_corr: float = _NAN
    intensity_gain: float = _NAN
    apex_error_frames: float = _NAN
    edge_f: float = _NAN
    edge_chance: float = _NAN
    cross_likeness: float = _NAN
    cross_strength: float = _NAN
    identity_ssim: float = _NAN
    identity_colour: float = _NAN
    jitter_px: float = _NAN
    jitter_processed_px: float = _NAN

    def to_dict(self) -> dict[str, float]:
        """The figures as plain values."""
        return asdict(self)


def score_lab(
    retargeter: Retargeter, clips: int = 8, *, seed: int = 0, noisy: bool = True, fps: int = 50
) -> Iterator[LabScore]:
    """Score `clips` held-out people, each driven by clips of its own, and the next one driven by them.

    Args:
        seed: another seed, other people. noisy: with the camera's noise on target, driver and truth. fps: of the clips
            from which everything but the course of time is measured.

    Raises:
        OptionError: no clips were asked for.
    """
    if clips < 1:
        raise OptionError(f"clips={clips}", "at least 1", "Ask for more.")
    people = [HELD_OUT_SEEDS[(seed * 1009 + k * 7919) % len(HELD_OUT_SEEDS)] for k in range(clips + 1)]
    for person, other in zip(people, people[1:]):
        yield score_person(retargeter, person, other, seed=seed, noisy=noisy, fps=fps)


def score_person(
    retargeter: Retargeter, person: int, other: int, *, seed: int = 0, noisy: bool = True, fps: int = 50
) -> LabScore:
    """Every figure of one person; `other` is the target of the cross-person ones. Arguments as `score_lab`."""
    size = retargeter.config.size
    clip = lab_clip(person, size=size, fps=fps, duration_s=0.5, seed=seed, noisy=noisy)
    twin = _twin(clip, other, size, seed)
    fast = lab_clip(person, size=size, fps=FAST_FPS, duration_s=_FAST_S, seed=seed, noisy=noisy)
    still = lab_clip(person, size=size, fps=100, duration_s=0.065, seed=seed, action_units={}, drift=0.0)
    found: dict[str, Any] = (
        score_course(retargeter, fast)
        | score_edges(retargeter, clip, twin)
        | score_cross(retargeter, clip, twin)
        | score_jitter(retargeter, still)
    )
    return replace(score_clip(retargeter, clip), **found)


def score_clip(retargeter: Retargeter, clip: LabClip) -> LabScore:
    """Drive the first frame of `clip` with the clip and compare with what the clip shows: pictures and flow."""
    frames = clip.frames.numpy()
    unit = SIZE / frames.shape[1]
    psnr, moving_error, unmoved_error, ends = [], [], [], []
    for t, drawn in _driven(retargeter, frames, range(1, len(frames))):
        error = _squared(drawn.image, frames[t])
        psnr.append(_db(float(error.mean())))
        way = clip.displacement_px[t].numpy() * unit
        mask = np.linalg.norm(way, axis=-1) > MOVING_PX
        if not mask.any():
            continue
        moving_error.append(float(error[mask].mean()))
        unmoved_error.append(float(_squared(frames[0], frames[t])[mask].mean()))
        ends.append(end_point(_at_pixels(retargeter, drawn), way, clip.valid[t].numpy()))
    wrong, motion = _mean([end.moving for end in ends]), _mean([end.motion for end in ends])
    return LabScore(
        clip.identity, len(frames) - 1, _mean(psnr), _db(_mean(moving_error)), _db(_mean(unmoved_error)),
        wrong, motion, wrong / motion, _mean([end.still for end in ends]),
    )  # fmt: skip


def score_course(retargeter: Retargeter, clip: LabClip) -> dict[str, float]:
    """How strongly the flow performs the movement of `clip` over time, drawn as a user's file is."""
    field, weight = _movement(clip, retargeter.config.map_size)
    amount, apex, frames = clip.intensity.sum(1).numpy(), clip.apex, list(clip.frames.numpy())
    strength = [
        performance(_in_cells(retargeter, drawn), field, weight).strength
        for drawn in drawn_as_file(retargeter, frames[0], frames, clip.fps)
    ]
    wanted = [float(amount[t] / max(float(amount[apex]), 1e-6)) for t in range(len(frames))]
    found = course(strength, wanted, range(len(frames)), apex)
    return {
        "intensity_corr": found.correlation, "intensity_gain": found.gain, "apex_error_frames": found.apex_error_frames,
    }  # fmt: skip


def score_edges(retargeter: Retargeter, clip: LabClip, other: LabClip) -> dict[str, float]:
    """The edge head on the first frame of `clip` and on its apex; nothing for a network without one."""
    cells, right, chance = retargeter.config.map_size, [], []
    if not retargeter.config.edge:
        return {}
    for t in (0, clip.apex):
        found = retargeter.engine.prepare(clip.frames[t].numpy()).edge_map
        if found is None:
            return {}
        edges = found[0].float().cpu().numpy()
        right.append(edge_f_score(edges, _edges(clip, t, cells)))
        chance.append(edge_f_score(edges, _edges(other, 0, cells)))
    return {"edge_f": _mean(right), "edge_chance": _mean(chance)}


def score_cross(retargeter: Retargeter, clip: LabClip, other: LabClip) -> dict[str, float]:
    """Another person, shown at rest by the first frame of `other`, driven by the apex of `clip`.

    The apex of `other` is what that person's own face does with the same action units.
    """
    engine, target = retargeter.engine, other.frames[0].numpy()
    initial, driver = engine.detect(clip.frames[0].numpy()), clip.frames[clip.apex].numpy()
    drawn = engine.step(engine.prepare(target), initial, engine.detect(driver), motion="relative", gain=1.0)
    did = performance(_in_cells(retargeter, drawn), *_movement(other, retargeter.config.map_size))
    return {
        "cross_likeness": did.likeness,
        "cross_strength": did.strength,
        "identity_ssim": structure_kept(drawn.image, target, _at_pixels(retargeter, drawn)),
        "identity_colour": colour_pull(drawn.image, target, driver),
    }


def score_jitter(retargeter: Retargeter, still: LabClip) -> dict[str, float]:
    """How far keypoints wander on a clip in which nothing moves, and how far what is drawn at their places does."""
    frames = list(still.frames.numpy())
    kp = torch.cat([retargeter.engine.detect(frame).kp.float().cpu() for frame in frames])
    places = kp[:1, None]
    drawn = drawn_as_file(retargeter, frames[0], frames, still.fps)
    moved = torch.cat([_sampled(retargeter, result, places) for result in drawn])
    return {"jitter_px": jitter_px(kp.numpy()), "jitter_processed_px": jitter_px(moved.numpy() / (SIZE / 2))}


def summary(
    scores: list[LabScore], mean: Callable[[list[float]], float] = lambda v: float(np.nanmean(v))
) -> dict[str, float]:
    """The mean of every figure over clips, those left out that have none; `error_share` is the ratio of the means."""
    rows = [score.to_dict() for score in scores]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = {name: mean([row[name] for row in rows]) for name in rows[0] if name != "identity"}
    return found | {"error_share": found["end_point_error_px"] / found["motion_px"]}


def _twin(clip: LabClip, other: int, size: int, seed: int) -> LabClip:
    """Another person doing what the person of `clip` does, in as few frames as there can be."""
    amounts = clip.intensity[clip.apex].tolist()
    units = {unit: min(amount, 2.0) for unit, amount in zip(ACTION_UNITS, amounts, strict=True) if amount > 0}
    return lab_clip(
        other, action_units=units, size=size, fps=25, duration_s=0.08, seed=seed, noisy=False, symmetric=True
    )


def _driven(retargeter: Retargeter, frames: Array, numbers: range | list[int]) -> Iterator[tuple[int, FrameResult]]:
    """The first of `frames` driven by those `numbers`."""
    engine = retargeter.engine
    state, initial = engine.prepare(frames[0]), engine.detect(frames[0])
    for t in numbers:
        yield t, engine.step(state, initial, engine.detect(frames[t]), motion="relative", gain=1.0)


def _movement(clip: LabClip, cells: int) -> tuple[Array, Array]:
    """The true displacement of the apex, px, in cells, and how much each counts: what is known, on the head."""
    way = clip.displacement_px[clip.apex].numpy() * (SIZE / clip.frames.shape[1])
    return to_cells(way, clip.valid[clip.apex].numpy() & (way != 0).any(-1), cells)


def _edges(clip: LabClip, t: int, cells: int) -> Array:
    return to_cells(clip.edges[t].numpy()[..., None], np.ones(clip.edges.shape[1:], bool), cells)[0][..., 0]


def _displacement(retargeter: Retargeter, drawn: FrameResult) -> torch.Tensor:
    return displacement_px(drawn.flow, retargeter.config.pixel_grid, SIZE).float().cpu()


def _sampled(retargeter: Retargeter, drawn: FrameResult, places: torch.Tensor) -> torch.Tensor:
    """The displacement, px, at `places` `[1, 1, K, 2]`: `[1, K, 2]`."""
    corners = retargeter.config.pixel_grid == "corners"
    field = _displacement(retargeter, drawn).permute(0, 3, 1, 2)
    found = F.grid_sample(field, places, padding_mode="border", align_corners=corners)
    return found[:, :, 0].transpose(1, 2)


def _in_cells(retargeter: Retargeter, drawn: FrameResult) -> Array:
    out: Array = _displacement(retargeter, drawn)[0].numpy()
    return out


def _at_pixels(retargeter: Retargeter, drawn: FrameResult) -> Array:
    """The result's displacement, px, at every pixel of its picture, `[size, size, 2]`."""
    size = retargeter.config.size
    small = _displacement(retargeter, drawn).permute(0, 3, 1, 2)
    large = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    out: Array = large[0].permute(1, 2, 0).numpy()
    return out


def _squared(a: Array, b: Array) -> Array:
    out: Array = ((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean(-1)
    return out


def _db(mean_squared: float) -> float:
    return float(10 * np.log10(255**2 / max(mean_squared, 1e-9)))


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else _NAN
