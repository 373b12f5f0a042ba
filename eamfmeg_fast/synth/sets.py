"""Writes sets of clips with their labels: faces that never lived, or one photograph; motion known exactly."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eamfmeg_fast import __version__
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import ACTION_UNITS, EMOTIONS, HELD_OUT_SEEDS, LANDMARKS, TRAIN_SEEDS, LabClip, lab_clip
from eamfmeg_fast.lab.edges import EDGE_SIZE
from eamfmeg_fast.lab.photo import PhotoClip
from eamfmeg_fast.media import open_writer, parse_fps
from eamfmeg_fast.media.safe_file import media_errors, shown, write_text_aside
from eamfmeg_fast.provenance import Mark, write_manifest
from eamfmeg_fast.synth.options import CASME_COLUMNS, MAX_CLIPS, SynthClip, SynthOptions
from eamfmeg_fast.synth.photo import Photo, open_photo
from eamfmeg_fast.synth.truth import TruthFile

_THREE_CLASSES = {"happiness": "positive", "surprise": "surprise", "others": "others"}
_FAINT = 0.05


def synthesise(out: str | Path, options: SynthOptions | None = None) -> Iterator[SynthClip]:
    """Write a set of lab clips, or of clips of a photo, one after another; the tables come last.

    `out` gets `clips/<subject>/<clip>`, `truth/<subject>/<clip>.safetensors`, `annotations.csv` with the nine columns
    of the CASME II coding sheet (frame numbers count from 0, as the files do) and `annotations_full.csv`.

    Args:
        out: a new or empty folder. options: what set.

    Raises:
        OptionError: a value that means nothing, or the folder is filled. MediaError: it cannot be written, or the photo
            not be read. FaceError: the photo shows no face.
    """
    options = options or SynthOptions()
    folder = Path(out)
    _prepare(folder, options.overwrite)
    rows = []
    try:
        photo = None if options.photo is None else open_photo(options)
        for number in range(options.clips):
            made = _write_clip(folder, options, number, photo)
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


def _write_clip(folder: Path, options: SynthOptions, number: int, photo: Photo | None) -> SynthClip:
    subjects = options.subjects if photo is None else 1
    subject, take = number % subjects, number // subjects
    emotion, units = _expression(options, number)
    fps = parse_fps(options.fps, "fps")
    seed = options.seed * MAX_CLIPS + number
    clip: LabClip | PhotoClip
    if photo is None:
        seeds = HELD_OUT_SEEDS if options.split == "held_out" else TRAIN_SEEDS
        clip = lab_clip(seeds[subject], action_units=units, size=options.size, fps=fps, seed=seed)
        who: int | str = clip.identity
    else:
        clip, who = photo.clip(units, options, fps, seed), shown(photo.path.name)
    names = f"sub{subject + 1:02d}", f"EP{take + 1:02d}_{number + 1:02d}f"
    path = folder / "clips" / names[0] / (names[1] + ("" if options.layout == "frames" else f".{options.layout}"))
    row = _row(clip, who, names, emotion, seed) | {"path": path.relative_to(folder).as_posix()}
    mark = Mark(options={"made_by": "lab", **row}) if photo is None else photo.mark(row)
    truth = None
    if options.truth != "none":
        truth = folder / "truth" / names[0] / f"{names[1]}.safetensors"
    _film(clip, (path, truth), options, mark, row)
    if truth is not None:
        row["truth"] = truth.relative_to(folder).as_posix()
    return SynthClip("/".join(names), path, truth, row)


def _expression(options: SynthOptions, number: int) -> tuple[str, dict[int, float]]:
    if options.action_units is not None:
        return "others", options.action_units
    name = options.emotion if options.emotion != "all" else list(EMOTIONS)[number % len(EMOTIONS)]
    return name, EMOTIONS[name]


def _film(
    clip: LabClip | PhotoClip, paths: tuple[Path, Path | None], options: SynthOptions, mark: Mark, row: dict[str, Any]
) -> None:
    """Frames and what is known of each, written side by side while they are drawn."""
    path, truth = paths
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = [] if options.photo is None else [options.photo]
    size = (options.size, options.size)
    with contextlib.ExitStack() as stack:
        known = None if truth is None else stack.enter_context(_open_truth(truth, clip, options, row))
        writer = open_writer(path, fps=clip.fps, size=size, mark=mark, lossless=True, overwrite=options.overwrite,
                             inputs=inputs)  # fmt: skip
        sink = stack.enter_context(writer)
        for number, frame in enumerate(_frames(clip)):
            sink.write(frame.pop("image"))
            if known is not None:
                for name in known.names:
                    known.put(name, number, frame[name])
    write_manifest(path, mark, {"frames": len(clip.intensity)})


def _frames(clip: LabClip | PhotoClip) -> Iterator[dict[str, Any]]:
    """The arrays of each frame by name."""
    names = ("landmarks_px", "displacement_px", "valid", "edges")
    if isinstance(clip, PhotoClip):
        for number, frame in enumerate(clip.frames()):
            arrays = {name: getattr(frame, name) for name in (*names, "image")}
            yield {name: value.numpy() for name, value in (arrays | {"intensity": clip.intensity[number]}).items()}
        return
    for number, image in enumerate(clip.frames):
        arrays = {name: getattr(clip, name)[number] for name in (*names, "intensity")}
        yield {name: value.cpu().numpy() for name, value in (arrays | {"image": image}).items()}


def _open_truth(path: Path, clip: LabClip | PhotoClip, options: SynthOptions, row: dict[str, Any]) -> TruthFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "landmarks_px": ("F32", (len(LANDMARKS), 2)), "intensity": ("F32", (len(ACTION_UNITS),)),
    }  # fmt: skip
    if options.truth == "full":
        side = options.size
        shapes |= {
            "displacement_px": ("F32", (side, side, 2)), "valid": ("BOOL", (side, side)),
            "edges": ("F32", (EDGE_SIZE, EDGE_SIZE)),
        }  # fmt: skip
    facts = {"format": "eamfmeg_fast.lab", "clip": row, "action_units": ACTION_UNITS, "landmarks": LANDMARKS}
    return TruthFile(path, len(clip.intensity), shapes, facts)


def _row(clip: LabClip | PhotoClip, who: int | str, names: tuple[str, str], emotion: str, seed: int) -> dict[str, Any]:
    peak = dict(zip(ACTION_UNITS, clip.intensity[clip.apex].tolist()))
    strong = {unit: value for unit, value in peak.items() if value >= _FAINT}
    return {
        "clip_id": "/".join(names),
        "subject": int(names[0].removeprefix("sub")),
        "filename": names[1],
        "target_identity": who,
        "seed": seed,
        "onset": clip.onset,
        "apex": clip.apex,
        "offset": clip.offset,
        "n_frames": len(clip.intensity),
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
