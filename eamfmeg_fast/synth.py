"""Writes sets of lab clips with their labels: faces that never lived, motion known exactly."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import safetensors.numpy

from eamfmeg_fast import __version__
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import ACTION_UNITS, EMOTIONS, HELD_OUT_SEEDS, LANDMARKS, TRAIN_SEEDS, LabClip, lab_clip
from eamfmeg_fast.media import open_writer, parse_fps
from eamfmeg_fast.media.safe_file import Aside, media_errors, shown, write_text_aside
from eamfmeg_fast.provenance import Mark, write_manifest

LAYOUTS = ("frames", "mp4", "gif")
TRUTHS = ("none", "motion", "full")
CASME_COLUMNS = (
    "Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units", "Estimated Emotion",
)  # fmt: skip

_THREE_CLASSES = {"happiness": "positive", "surprise": "surprise", "others": "others"}
_FAINT = 0.05
_MAX_CLIPS = 100_000


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

    def __post_init__(self) -> None:
        words = {
            "layout": LAYOUTS, "truth": TRUTHS, "split": ("train", "held_out"), "emotion": ("all", *EMOTIONS),
        }  # fmt: skip
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name} {getattr(self, name)!r}", ", ".join(known), "Check the spelling.")
        if not (1 <= self.clips <= _MAX_CLIPS and 1 <= self.subjects <= 1000 and self.seed >= 0):
            got = f"{self.clips} clips, {self.subjects} subjects, seed {self.seed}"
            raise OptionError(got, f"1 to {_MAX_CLIPS} clips, 1 to 1000 subjects, a seed from 0")
        if not 64 <= self.size <= 1024:
            raise OptionError(f"size {self.size}", "64 to 1024 pixels")


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


def synthesise(out: str | Path, options: SynthOptions | None = None) -> Iterator[SynthClip]:
    """Write a set of lab clips, one after another; the tables come last.

    `out` gets `clips/<subject>/<clip>`, `truth/<subject>/<clip>.safetensors`, `annotations.csv` with the nine columns
    of the CASME II coding sheet (frame numbers count from 0, as the files do) and `annotations_full.csv`.

    Args:
        out: a new or empty folder. options: what set.

    Raises:
        OptionError: a value that means nothing, or the folder is filled. MediaError: it cannot be written.
    """
    options = options or SynthOptions()
    folder = Path(out)
    _prepare(folder, options.overwrite)
    rows = []
    try:
        for number in range(options.clips):
            made = _write_clip(folder, options, number)
            rows.append(made.row)
            yield made
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if nothing is in it
        raise
    write_text_aside(folder / "annotations.csv", _casme_table(rows))
    write_text_aside(folder / "annotations_full.csv", _full_table(rows))


def _prepare(folder: Path, overwrite: bool) -> None:
    with media_errors(folder, "written"):
        if not folder.parent.is_dir():
            raise OptionError(f"folder {shown(folder.parent)} does not exist", "a place for it", "Create it first.")
        folder.mkdir(exist_ok=True)
        if any(folder.iterdir()) and not overwrite:
            fix = "Allow overwriting or choose another name."
            raise OptionError(f"folder {shown(folder)} is not empty", "a new or empty folder", fix)


def _write_clip(folder: Path, options: SynthOptions, number: int) -> SynthClip:
    subject, take = number % options.subjects, number // options.subjects
    seeds = HELD_OUT_SEEDS if options.split == "held_out" else TRAIN_SEEDS
    identity = seeds[subject]
    emotion, units = _expression(options, number)
    fps = parse_fps(options.fps, "fps")
    seed = options.seed * _MAX_CLIPS + number
    clip = lab_clip(identity, action_units=units, size=options.size, fps=fps, seed=seed)
    names = f"sub{subject + 1:02d}", f"EP{take + 1:02d}_{number + 1:02d}f"
    path = folder / "clips" / names[0] / (names[1] + ("" if options.layout == "frames" else f".{options.layout}"))
    row = _row(clip, subject + 1, names[1], emotion, seed) | {"path": path.relative_to(folder).as_posix()}
    _film(clip, path, options, row)
    truth = None
    if options.truth != "none":
        truth = folder / "truth" / names[0] / f"{names[1]}.safetensors"
        _write_truth(truth, clip, options.truth == "full", row)
        row["truth"] = truth.relative_to(folder).as_posix()
    return SynthClip("/".join(names), path, truth, row)


def _expression(options: SynthOptions, number: int) -> tuple[str, dict[int, float]]:
    if options.action_units is not None:
        return "others", options.action_units
    name = options.emotion if options.emotion != "all" else list(EMOTIONS)[number % len(EMOTIONS)]
    return name, EMOTIONS[name]


def _film(clip: LabClip, path: Path, options: SynthOptions, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = Mark(options={"made_by": "lab", **row})
    size = (options.size, options.size)
    writer = open_writer(path, fps=clip.fps, size=size, mark=mark, lossless=True, overwrite=options.overwrite)
    with writer as sink:
        for frame in clip.frames.cpu().numpy():
            sink.write(frame)
    write_manifest(path, mark, {"frames": len(clip.frames)})


def _write_truth(path: Path, clip: LabClip, full: bool, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["landmarks_px", "intensity", *(["displacement_px", "valid", "edges"] if full else [])]
    arrays = {name: getattr(clip, name).cpu().contiguous().numpy() for name in names}
    facts = {"format": "eamfmeg_fast.lab", "clip": row, "action_units": ACTION_UNITS, "landmarks": LANDMARKS}
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    aside = Aside(path)
    try:
        aside.open()
        with media_errors(path, "written"):
            aside.path.write_bytes(safetensors.numpy.save(arrays, metadata))
        aside.commit()
    finally:
        aside.discard()


def _row(clip: LabClip, subject: int, name: str, emotion: str, seed: int) -> dict[str, Any]:
    peak = dict(zip(ACTION_UNITS, clip.intensity[clip.apex].tolist()))
    strong = {unit: value for unit, value in peak.items() if value >= _FAINT}
    return {
        "clip_id": f"sub{subject:02d}/{name}",
        "subject": subject,
        "filename": name,
        "target_identity": clip.identity,
        "seed": seed,
        "onset": clip.onset,
        "apex": clip.apex,
        "offset": clip.offset,
        "n_frames": len(clip.frames),
        "fps": str(clip.fps),
        "action_units": "+".join(map(str, strong)),
        "action_units_detail": "+".join(f"{unit}:{value:.2f}" for unit, value in strong.items()),
        "emotion": emotion,
        "emotion_3class": _THREE_CLASSES.get(emotion, "negative"),
        "code_version": __version__,
        "mark": "synthetic",
    }


def _casme_table(rows: list[dict[str, Any]]) -> str:
    columns = ("subject", "filename", "", "onset", "apex", "offset", "", "action_units", "emotion")
    return _table(CASME_COLUMNS, ([row.get(name, "") for name in columns] for row in rows))


def _full_table(rows: list[dict[str, Any]]) -> str:
    return _table(tuple(rows[0]), (row.values() for row in rows))


def _table(head: tuple[str, ...], rows: Any) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
