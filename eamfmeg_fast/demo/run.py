"""A held-out lab person smiles for a moment; the astronaut repeats it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.demo.sheet import Phase, contact_sheet
from eamfmeg_fast.errors import BackendError
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.media import open_writer
from eamfmeg_fast.media.mark import png_text
from eamfmeg_fast.provenance import Mark, write_manifest
from eamfmeg_fast.retargeter import Clip, Retargeter

ACTION_UNITS = {1: 0.8, 2: 0.7, 6: 0.7, 12: 1.0}
_PERSON = HELD_OUT_SEEDS[14]
_FPS = 100


@dataclass(frozen=True)
class DemoFiles:
    """What the demonstration wrote, and how fast."""

    target: Path
    driving: Path
    result: Path
    side_by_side: Path
    sheet: Path
    frames: int
    frames_per_second: float
    device: str

    def list(self) -> list[tuple[Path, str]]:
        """Each file with a few words on it."""
        return [
            (self.sheet, "contact sheet: target, driving, keypoints, edge, displacement, occlusion, result"),
            (self.side_by_side, "target, driving and result beside each other"),
            (self.result, "the result; the synthetic mark is in the file and in the .json beside it"),
            (self.driving, "the driving clip: a person who never lived"),
            (self.target, "the target: Eileen Collins, NASA, public domain"),
        ]


def demo(
    out: Path, weights: str | Path = DEFAULT_WEIGHTS, on_frame: Callable[[int, int], None] | None = None
) -> DemoFiles:
    """Write the demonstration's files into the folder `out`.

    Args:
        out: made if it is not there. weights: as `Retargeter.from_pretrained`.
        on_frame: called with the frames done and all of them.

    Raises:
        BackendError: scikit-image, which brings the portrait, is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    target, driving = out / "target.png", out / "driving.mp4"
    Image.fromarray(portrait()).save(target)
    clip = lab_clip(_PERSON, action_units=ACTION_UNITS, fps=_FPS, duration_s=0.5, seed=2)
    _film(clip, driving)
    retargeter = Retargeter.from_pretrained(weights)
    drawn = retargeter(target, driving, crop="auto", crop_driving="none")
    total = len(clip.frames)
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        if on_frame is not None:
            on_frame(done, total)

    report = drawn.save(out / "demo.mp4", overwrite=True, on_frame=count)
    drawn.save(out / "demo_side_by_side.mp4", overwrite=True, side_by_side=True)
    _draw_sheet(drawn, clip, out / "demo_sheet.png")
    drawing = sum(ms for stage, ms in report.mean_ms.items() if stage in ("keypoints", "draw"))
    return DemoFiles(
        target,
        driving,
        out / "demo.mp4",
        out / "demo_side_by_side.mp4",
        out / "demo_sheet.png",
        report.frames,
        1000 / drawing,
        retargeter.engine.plan.reason,
    )


def portrait() -> np.ndarray:
    """The astronaut that scikit-image ships, uint8 [512, 512, 3].

    Raises:
        BackendError: scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise BackendError(
            "scikit-image is not installed", "it for the portrait", "pip install scikit-image."
        ) from error
    image: np.ndarray = astronaut()
    return image


def _film(clip: LabClip, path: Path) -> None:
    height, width = clip.frames.shape[1:3]
    mark = Mark("", "", "", {"made_by": "eamfmeg_fast.lab", "identity": clip.identity})
    with open_writer(path, fps=clip.fps, size=(width, height), mark=mark, overwrite=True) as writer:
        for frame in clip.frames.numpy():
            writer.write(frame)
    write_manifest(path, mark, {"frames": len(clip.frames)})


def _draw_sheet(drawn: Clip, clip: LabClip, path: Path) -> None:
    weights = drawn.retargeter.weights_sha256
    mark = Mark(drawn.target.sha256, drawn.driving.sha256(), weights, {"made_by": "contact sheet"})
    sheet = contact_sheet(drawn.retargeter, drawn.target, _phases(clip))
    sheet.save(path, pnginfo=png_text(mark.to_json()))
    write_manifest(path, mark)


def _phases(clip: LabClip) -> list[Phase]:
    frames = clip.frames.numpy()
    moments = {"onset": clip.onset, "apex": clip.apex, "offset": min(clip.offset, len(frames) - 1)}
    return [Phase(name, index, frames[index], frames[0]) for name, index in moments.items()]
