"""Many pairs of target and driving clip: where they come from, and one after another, failures kept apart."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import EamfmegError, MediaError, OptionError
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown
from eamfmeg_fast.motion_file import FORMAT, SUFFIX, stated_format
from eamfmeg_fast.retargeter.core import Retargeter
from eamfmeg_fast.retargeter.report import Report, RetargetedFrame, Target

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
CLIPS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".gif", ".safetensors")

_MAX_DEPTH = 8
_MAX_PAIRS = 100_000


@dataclass(frozen=True)
class Job:
    """One pair.

    Attributes:
        target, driving: inputs. output: the file or folder to write.
        options: for `Retargeter.__call__`, over those that all jobs share.
    """

    target: Path
    driving: Path
    output: Path
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """How one pair went: its report, or the error in one line."""

    job: Job
    report: Report | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        if self.report is not None:
            return self.report.to_dict() | {"error": None}
        job = self.job
        return {"target": str(job.target), "driving": str(job.driving), "output": str(job.output), "error": self.error}


def holds_pictures(folder: Path) -> bool:
    """Whether pictures lie directly in a folder: then it is one clip, not a folder of clips.

    Raises:
        MediaError: it cannot be listed.
    """
    with media_errors(folder), os.scandir(folder) as entries:
        return any(_is(entry.name, PICTURES) and entry.is_file() for entry in entries)


def find_pictures(folder: Path) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted.

    Raises:
        MediaError: there are none, or too many.
    """
    return _found(folder, _walk(folder, lambda names: [name for name in names if _is(name, PICTURES)]), "pictures")


def find_clips(folder: Path) -> list[Path]:
    """All clips in a folder, sorted: videos, GIFs, motion files, and subfolders that hold pictures.

    Safetensors that say they are something else (weights, a lab clip's truth) are passed over.

    Raises:
        MediaError: there are none, or too many.
    """

    def own(names: list[str]) -> list[str]:
        clips = [name for name in names if _is(name, CLIPS)]
        return ["", *clips] if any(_is(name, PICTURES) for name in names) else clips

    return _found(folder, (path for path in _walk(folder, own) if path != folder and not _is_foreign(path)), "clips")


def jobs_from_folders(targets: Path, drivings: Path, out: Path, suffix: str) -> list[Job]:
    """Each target with each driving clip.

    Args:
        targets: a picture, or a folder of them. drivings: a clip, or a folder of them.
        out: folder for the outputs, named `<target>__<driving><suffix>`.
        suffix: ".mp4", ".gif" or "" for folders of PNGs.

    Raises:
        MediaError: an input is missing, or there is nothing to do. OptionError: too many pairs.
    """
    for given in (targets, drivings):
        if not given.exists():
            raise MediaError(f"{shown(given)} does not exist", fix="Check the path.")
    pictures = find_pictures(targets) if targets.is_dir() else [targets]
    clips = find_clips(drivings) if drivings.is_dir() and not holds_pictures(drivings) else [drivings]
    if len(pictures) * len(clips) > _MAX_PAIRS:
        raise OptionError(f"{len(pictures)} targets times {len(clips)} clips", f"at most {_MAX_PAIRS} pairs")
    names = _names(pictures, targets), _names(clips, drivings)
    return [
        Job(picture, clip, out / f"{names[0][picture]}__{names[1][clip]}{suffix}")
        for picture in pictures
        for clip in clips
    ]


def jobs_from_pairs(
    table: Path, out: Path, suffix: str, *, targets: Path | None = None, drivings: Path | None = None
) -> list[Job]:
    """The pairs of a CSV file with the columns target, driving and, if wanted, output.

    A column `source` is read as target and `frame` as the reference frame; `distance` and others are left alone.

    Args:
        table: the CSV. out, suffix: as `jobs_from_folders`, where the row names no output.
        targets, drivings: folders in which names are looked up; else the CSV's own folder.

    Raises:
        MediaError: the CSV cannot be read. OptionError: a row that means nothing.
    """
    rows = _rows(table)
    jobs: list[Job] = []
    named: list[Path] = []
    for number, row in enumerate(rows, 2):
        where = f"{shown(table)}, line {number}"
        target, driving = row.get("target") or row.get("source"), row.get("driving")
        if not target or not driving:
            raise OptionError(f"{where}: no target or no driving clip", "the columns target and driving, both filled")
        picture = _look_up(target, targets or table.parent, PICTURES)
        clip = _look_up(driving, drivings or table.parent, CLIPS)
        name = row.get("output") or f"{picture.stem}__{clip.stem}{suffix}"
        frame = row.get("frame") or ""
        if frame and not (frame.isascii() and frame.isdecimal() and len(frame) < 10):
            raise OptionError(f"{where}: frame {frame[:40]!r}", "a frame number")
        options = {"reference_frame": int(frame)} if frame else {}
        jobs.append(Job(picture, clip, _inside(out, name, where), options))
        named += [jobs[-1].output] if row.get("output") else []
    if len(set(named)) != len(named):
        raise OptionError(f"{shown(table)} gives two pairs the same output", "different names")
    return _unique(jobs, table)


def run_jobs(
    retargeter: Retargeter,
    jobs: Iterable[Job],
    *,
    call: dict[str, Any] | None = None,
    save: dict[str, Any] | None = None,
    on_frame: Callable[[RetargetedFrame], None] | None = None,
) -> Iterator[JobResult]:
    """Do the jobs one after another; a target that follows itself is prepared once.

    Args:
        retargeter: does them. jobs: what to do.
        call: options of `Retargeter.__call__`. save: options of `Clip.save`. on_frame: called after every frame.

    Yields:
        one result per job; a failure of ours becomes its error and the next job goes on.
    """
    call, save = dict(call or {}), dict(save or {})
    crop = call.pop("crop", None)
    if call.get("crop_driving") is None and crop in ("auto", "none"):
        call["crop_driving"] = crop
    prepared: Target | None = None
    for job in jobs:
        try:
            if prepared is None or prepared.path != job.target:
                prepared = retargeter.open_target(job.target, crop)
            clip = retargeter(prepared, job.driving, **{**call, **job.options})
            job.output.parent.mkdir(parents=True, exist_ok=True)
            yield JobResult(job, clip.save(job.output, on_frame=on_frame, **save))
        except EamfmegError as error:
            yield JobResult(job, error=str(error))
        except OSError as error:
            yield JobResult(job, error=f"{shown(job.output)} cannot be written: {error.strerror}")


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return not name.startswith(".") and name.lower().endswith(suffixes)


def _is_foreign(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and path.is_file() and stated_format(path) not in (FORMAT, None)


def _walk(folder: Path, own: Callable[[list[str]], list[str]]) -> Iterator[Path]:
    with media_errors(folder):
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if len(Path(parent).relative_to(folder).parts) >= _MAX_DEPTH:
                folders.clear()
            yield from (Path(parent, name) if name else Path(parent) for name in own(sorted(names)))


def _found(folder: Path, paths: Iterable[Path], what: str) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found.append(path)
        if len(found) > LIMITS.max_frames_in_folder:
            raise MediaError(f"{shown(folder)} holds too many {what}", f"at most {LIMITS.max_frames_in_folder}")
    if not found:
        raise MediaError(f"{shown(folder)} holds no {what}", f"{what} in it or in its subfolders")
    return found


def _names(paths: list[Path], root: Path) -> dict[Path, str]:
    """A short name for each: what tells it from the others below `root`, without suffix where that stays unique."""
    whole = {path: "_".join(path.relative_to(root).parts) if path != root else path.name for path in paths}
    short = {path: name.removesuffix(path.suffix) if not path.is_dir() else name for path, name in whole.items()}
    often = Counter(short.values())
    return {path: short[path] if often[short[path]] == 1 else whole[path].replace(".", "_") for path in paths}


def _rows(table: Path) -> list[dict[str, str]]:
    with open_regular(table) as file, media_errors(table):
        data = file.read(LIMITS.max_header_bytes + 1)
        if len(data) > LIMITS.max_header_bytes:
            raise MediaError(f"{shown(table)} is too large", f"at most {LIMITS.max_header_bytes} bytes")
        if b"\0" in data:
            raise MediaError(f"{shown(table)} holds zero bytes", "a CSV file in UTF-8")
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if "driving" not in head or not {"target", "source"} & set(head):
        columns = shown(", ".join(head))[:100] or "none"
        raise OptionError(f"{shown(table)} has the columns {columns}", "target and driving")
    filled = [dict(zip(head, (cell.strip() for cell in row))) for row in rows[1:] if any(map(str.strip, row))]
    if not filled or len(filled) > _MAX_PAIRS:
        raise OptionError(f"{shown(table)} holds {len(filled)} pairs", f"1 to {_MAX_PAIRS}")
    return filled


def _look_up(name: str, root: Path, suffixes: tuple[str, ...]) -> Path:
    """The file that a table means: as written, or with a known suffix. A missing one fails later, as its own pair."""
    plain = root / name
    with media_errors(root):
        others = (plain.with_name(plain.name + suffix) for suffix in suffixes)
        return plain if plain.exists() else next((path for path in others if path.exists()), plain)


def _inside(out: Path, name: str, where: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise OptionError(f"{where}: output {shown(name)[:60]!r}", "a name inside the output folder")
    return out / path


def _unique(jobs: list[Job], table: Path) -> list[Job]:
    """Pairs whose outputs have the same name are numbered; a number that meets a name of the table is refused."""
    often, seen, out = Counter(job.output for job in jobs), Counter[Path](), []
    for job in jobs:
        seen[job.output] += 1
        again = seen[job.output]
        path = job.output
        if often[path] > 1:
            path = path.with_name(f"{path.stem}__{again}{path.suffix}")
        out.append(replace(job, output=path))
    if len({job.output for job in out}) != len(out):
        raise OptionError(f"{shown(table)} gives two pairs the same output", "different names")
    return out
