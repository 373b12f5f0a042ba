"""What set of clips to write, and what is known of each written one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import EMOTIONS

LAYOUTS = ("frames", "mp4", "gif")
TRUTHS = ("none", "motion", "full")
CASME_COLUMNS = (
    "Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units", "Estimated Emotion",
)  # fmt: skip
MAX_CLIPS = 100_000


@dataclass(frozen=True)
class SynthOptions:
    """What set to write.

    Attributes:
        clips: how many. subjects: people among them; clip i shows subject i modulo subjects.
        seed: of timing, framing and camera; the same seed gives the same set.
        split: "train" or "held_out": people that training may or may never see.
        emotion: one of `lab.EMOTIONS`, or "all": one after another.
        action_units: FACS numbers and their intensities at the apex, instead of an emotion's.
        size: pixels on a side. fps: frames per second.
        layout: "frames" (a folder of PNGs per clip), "mp4" (lossless) or "gif".
        truth: "none"; "motion": landmarks and intensities; "full": also displacement fields, validity and edges, about
            0.6 MB per frame at 256 pixels.
        overwrite: write over an earlier set.
        photo: path of a picture; its face moves instead of a lab face's, and subjects and split mean nothing.
        landmarks: of the photo, (x, y) in its pixels (0 is the centre of the first) by name of `lab.LANDMARKS`, or a
            JSON file of them; those of the first ten that are missing are found by a network.
        crop: of the photo: "auto", "none" or a box, as `faces.find_crop`. weights: the network that finds landmarks.

    Raises:
        OptionError: a value that means nothing.
    """

    clips: int = 8
    subjects: int = 4
    seed: int = 0
    split: str = "held_out"
    emotion: str = "all"
    action_units: dict[int, float] | None = None
    size: int = 256
    fps: Fraction | int | float | str = 200
    layout: str = "frames"
    truth: str = "motion"
    overwrite: bool = False
    photo: str | Path | None = None
    landmarks: Mapping[str, tuple[float, float]] | str | Path | None = None
    crop: Any = "auto"
    weights: str | Path = "small"

    def __post_init__(self) -> None:
        words = {
            "layout": LAYOUTS, "truth": TRUTHS, "split": ("train", "held_out"), "emotion": ("all", *EMOTIONS),
        }  # fmt: skip
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name} {getattr(self, name)!r}", ", ".join(known), "Check the spelling.")
        if not (1 <= self.clips <= MAX_CLIPS and 1 <= self.subjects <= 1000 and self.seed >= 0):
            got = f"{self.clips} clips, {self.subjects} subjects, seed {self.seed}"
            raise OptionError(got, f"1 to {MAX_CLIPS} clips, 1 to 1000 subjects, a seed from 0")
        if not 64 <= self.size <= 1024:
            raise OptionError(f"size {self.size}", "64 to 1024 pixels")
        if self.photo is None and self.landmarks is not None:
            raise OptionError("landmarks, but no photo", "both", "Name the photo that they belong to.")


@dataclass(frozen=True)
class SynthClip:
    """One written clip.

    Attributes:
        clip_id: "sub01/EP01_01f". path, truth: what was written; truth may be None. row: its line of annotations_full.
    """

    clip_id: str
    path: Path
    truth: Path | None
    row: dict[str, Any] = field(repr=False)
