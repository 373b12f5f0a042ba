"""Truth against result: lab faces that were held out, driven by their own clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.kernels.geometry import displacement_px
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.retargeter import Retargeter

MOVING_PX = 0.5
"""A pixel moves where its true displacement is longer than this."""


@dataclass(frozen=True)
class LabScore:
    """How well one lab clip was repeated on its own first frame.

    Attributes:
        identity: who. frames: how many were scored.
        psnr: of the whole picture against the clip's frame, dB, mean over frames.
        psnr_moving: inside the moving mask, frames in which something moves; psnr_still: what the unmoved target
            scores there.
        end_point_error_px: of the flow in the moving mask where the truth is known, mean.
        motion_px: length of the true displacement there, mean.
    """

    identity: int
    frames: int
    psnr: float
    psnr_moving: float
    psnr_still: float
    end_point_error_px: float
    motion_px: float

    def to_dict(self) -> dict[str, float]:
        """The figures as plain values."""
        return asdict(self)


def score_lab(
    retargeter: Retargeter, clips: int = 8, *, seed: int = 0, noisy: bool = True, fps: int = 50
) -> Iterator[LabScore]:
    """Score `clips` held-out people, each driven by a clip of its own.

    Args:
        seed: another seed, other people. noisy: with the camera's noise on target, driver and truth. fps: of the clips.

    Raises:
        OptionError: no clips were asked for.
    """
    if clips < 1:
        raise OptionError(f"clips={clips}", "at least 1", "Ask for more.")
    size = retargeter.config.size
    for index in range(clips):
        identity = HELD_OUT_SEEDS[(seed * 1009 + index * 7919) % len(HELD_OUT_SEEDS)]
        clip = lab_clip(identity, size=size, fps=fps, duration_s=0.5, seed=seed, noisy=noisy)
        yield score_clip(retargeter, clip)


def score_clip(retargeter: Retargeter, clip: LabClip) -> LabScore:
    """Drive the first frame of `clip` with the clip and compare with what the clip shows."""
    frames = clip.frames.numpy()
    engine = retargeter.engine
    state, initial = engine.prepare(frames[0]), engine.detect(frames[0])
    psnr, moving_error, still_error, end_point, motion = [], [], [], [], []
    for t in range(1, len(frames)):
        drawn = engine.step(state, initial, engine.detect(frames[t]), motion="relative", gain=1.0)
        error = _squared(drawn.image, frames[t])
        psnr.append(_db(float(error.mean())))
        way = clip.displacement_px[t].numpy()
        length = np.linalg.norm(way, axis=-1)
        mask = length > MOVING_PX
        if not mask.any():
            continue
        moving_error.append(float(error[mask].mean()))
        still_error.append(float(_squared(frames[0], frames[t])[mask].mean()))
        known = mask & clip.valid[t].numpy()
        if known.any():
            drawn_px = displacement_px(drawn.flow, retargeter.config.pixel_grid, len(frames[0]))
            wrong = np.linalg.norm(_enlarged(drawn_px, len(frames[0])) - way, axis=-1)
            end_point.append(float(wrong[known].mean()))
            motion.append(float(length[known].mean()))
    return LabScore(
        clip.identity, len(frames) - 1, _mean(psnr), _db(_mean(moving_error)), _db(_mean(still_error)),
        _mean(end_point), _mean(motion),
    )  # fmt: skip


def _enlarged(displacement: torch.Tensor, size: int) -> np.ndarray:
    """A displacement `[1, h, w, 2]` in px at every pixel, `[size, size, 2]`."""
    large = F.interpolate(displacement.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", align_corners=False)
    out: np.ndarray = large[0].permute(1, 2, 0).cpu().numpy()
    return out


def summary(
    scores: list[LabScore], mean: Callable[[list[float]], float] = lambda v: float(np.mean(v))
) -> dict[str, float]:
    """The mean of every figure over clips."""
    rows = [score.to_dict() for score in scores]
    return {name: mean([row[name] for row in rows]) for name in rows[0] if name != "identity"}


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out: np.ndarray = ((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean(-1)
    return out


def _db(mean_squared: float) -> float:
    return float(10 * np.log10(255**2 / max(mean_squared, 1e-9)))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
