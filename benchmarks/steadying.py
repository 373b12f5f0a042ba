"""What each steadying switch does, on held-out lab people whose motion is known: `python benchmarks/steadying.py`.

Each person's noisy clip at 200 fps drives the person's own first frame, with every switch alone and all together. The
still clips tell jitter; the others, held still by the head, tell errors and when the apex comes. Writes
benchmarks/results/steadying.json and the table in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from engine_table import README, between
from facts import commit, machine

from eamfmeg_fast.driving import Shot, smoothed
from eamfmeg_fast.driving.neutral import OPENING_S, steadied
from eamfmeg_fast.kernels.geometry import displacement_px
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.retargeter import Retargeter

RESULTS = Path(__file__).parent / "results" / "steadying.json"
BEGIN, END = "<!-- made by benchmarks/steadying.py -->", "<!-- end of steadying -->"
FPS = 200
MOVING_PX, RESTING_PX = 0.5, 0.05
_UNITS = ({1: 1.0, 2: 1.0, 12: 1.0}, {4: 1.0}, {12: 1.0}, {6: 1.0, 12: 0.7})
_FIRST, _SEED = 40, 3


@dataclass(frozen=True)
class Way:
    """One setting of the switches; see `config.NetworkConfig` and `driving.DrivingOptions`."""

    name: str
    still_px: float = 0.0
    relative_occlusion: bool = False
    steady: bool = False
    smoothing: str = "none"


WAYS = (
    Way("all off"),
    Way("relative occlusion", relative_occlusion=True),
    Way("still_px 0.05", still_px=0.05),
    Way("still_px 0.1", still_px=0.1),
    Way("still_px 0.25", still_px=0.25),
    Way("steadied reference", steady=True),
    Way("One-Euro, causal", smoothing="causal"),
    Way("One-Euro, centred", smoothing="centred"),
    Way("live's defaults", 0.05, True),
    Way("files' defaults", 0.05, True, True),
    Way("all on, centred", 0.05, True, True, "centred"),
)


@dataclass(frozen=True)
class Filmed:
    """A lab clip and what the detector finds in it."""

    clip: LabClip
    found: list[Keypoints]

    @property
    def moves(self) -> bool:
        """Whether anything does."""
        return bool(self.clip.intensity.any())


def film(retargeter: Retargeter, still: int, moving: int) -> Iterator[Filmed]:
    """Clips of `still` people who do nothing and of `moving` others."""
    for number in range(still + moving):
        units: dict[int, float] = {} if number < still else _UNITS[(number - still) % len(_UNITS)]
        person = HELD_OUT_SEEDS[_FIRST + number]
        clip = lab_clip(person, action_units=units, size=256, fps=FPS, seed=_SEED, duration_s=0.3, drift=0)
        yield Filmed(clip, [retargeter.engine.detect(frame) for frame in clip.frames.numpy()])


def draw(retargeter: Retargeter, filmed: Filmed, way: Way) -> tuple[np.ndarray, np.ndarray]:
    """Displacements `[T, h, w, 2]` in px and pictures `[T, S, S, 3]`."""
    engine, frames = retargeter.engine, filmed.clip.frames.numpy()
    state = engine.prepare(frames[0])
    initial = steadied(filmed.found[: round(OPENING_S * FPS)])[0] if way.steady else filmed.found[0]
    points: list[Keypoints | None] = list(filmed.found)
    if way.smoothing != "none":
        shots = (Shot(i, Fraction(i, FPS), keypoints=found) for i, found in enumerate(filmed.found))
        points = [each for _, each in smoothed(shots, lambda shot: shot.keypoints, way.smoothing, Fraction(FPS))]
    drawn = [engine.step(state, initial, each, gain=1.0) for each in points if each is not None]
    grid = retargeter.config.pixel_grid
    moved = torch.cat([displacement_px(one.flow, grid, retargeter.config.size) for one in drawn])
    return moved.numpy(), np.stack([one.image for one in drawn])


def score(filmed: Filmed, moved: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    """The figures of one clip."""
    first = _db(pictures[0], filmed.clip.frames[0].numpy())
    if not filmed.moves:
        away = moved - moved.mean(0)
        return {"jitter_px": _rms(away), "bias_px": _rms(moved.mean(0)), "start_db": first}
    cells = moved.shape[1:3]
    way = F.adaptive_avg_pool2d(filmed.clip.displacement_px.permute(0, 3, 1, 2), cells).permute(0, 2, 3, 1).numpy()
    known = F.adaptive_avg_pool2d(filmed.clip.valid[:, None].float(), cells)[:, 0].numpy() > 0.99
    length, wrong = np.linalg.norm(way, axis=-1), np.linalg.norm(moved - way, axis=-1)
    moving, resting = (length > MOVING_PX) & known, (length < RESTING_PX) & known
    shape = way[filmed.clip.apex]
    course = (moved * shape).sum((1, 2, 3)) / (shape**2).sum()
    return {
        "error_moving": float(wrong[moving].mean() / length[moving].mean()),
        "error_resting_px": float(wrong[resting].mean()),
        "apex_shift_frames": float(abs(int(course.argmax()) - filmed.clip.apex)),
        "delay_frames": _delay(course, (way * shape).sum((1, 2, 3))),
        "apex_height": float(course.max()),
        "start_db": first,
    }


def _rms(away: np.ndarray) -> float:
    return float(np.sqrt((away**2).sum(-1).mean()))


def _db(a: np.ndarray, b: np.ndarray) -> float:
    error = float(((a.astype(float) - b) ** 2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def _delay(course: np.ndarray, truth: np.ndarray, most: int = 12) -> float:
    """Frames by which the course has to be shifted to fit the truth best."""
    inner = slice(most, -most)
    fits = {k: np.corrcoef(course[inner], np.roll(truth, k)[inner])[0, 1] for k in range(-most, most + 1)}
    return float(max(fits, key=lambda k: fits[k]))


def measure(weights: str, still: int, moving: int) -> dict[str, Any]:
    """Every way on every clip; means."""
    filmed = list(film(Retargeter.from_pretrained(weights, device="cpu"), still, moving))
    rows = []
    for way in WAYS:
        switches = {"still_px": way.still_px, "relative_occlusion": way.relative_occlusion}
        retargeter = Retargeter.from_pretrained(weights, device="cpu", **switches)
        scores = [score(each, *draw(retargeter, each, way)) for each in filmed]
        names = dict.fromkeys(name for found in scores for name in found)
        means = {name: float(np.mean([found[name] for found in scores if name in found])) for name in names}
        rows.append({**vars(way), **means})
        print(line(rows[-1]), flush=True)
    sha = Retargeter.from_pretrained(weights, device="cpu").content_sha256
    head = {"weights": weights, "content_sha256": sha, "commit": commit(), "machine": machine()}
    return head | {"fps": FPS, "still_clips": still, "moving_clips": moving, "rows": rows}


COLUMNS = {
    "jitter_px": "jitter of a still clip, px rms",
    "bias_px": "its mean displacement, px rms",
    "error_moving": "end-point error, moving, of the motion",
    "error_resting_px": "resting, px",
    "apex_shift_frames": "apex off by, frames",
    "delay_frames": "delay, frames",
    "apex_height": "height of the apex",
    "start_db": "first frame to target, dB",
}


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    return f"| {row['name']} | " + " | ".join(f"{row.get(name, float('nan')):.3g}" for name in COLUMNS) + " |"


def table(result: dict[str, Any]) -> str:
    """What stands between the marks."""
    head = "| switch | " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * (len(COLUMNS) + 1)
    return "\n".join([head, *(line(row) for row in result["rows"])])


def main() -> None:
    """Measure, keep and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--still", type=int, default=2, help="clips in which nothing moves")
    parser.add_argument("--moving", type=int, default=4, help="clips with an expression")
    options = parser.parse_args()
    result = measure(options.weights, options.still, options.moving)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    README.write_text(between(README.read_text(), BEGIN, END, table(result)))


if __name__ == "__main__":
    main()
