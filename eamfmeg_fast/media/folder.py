"""Reads a folder of numbered pictures as a clip."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.media.frames import DEFAULT_FPS, ClipInfo, Frame, check_size, parse_fps, parse_number
from eamfmeg_fast.media.picture import picture_size, read_picture
from eamfmeg_fast.media.safe_file import CLIP_JSON, media_errors, read_json, shown

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_MAX_DIGITS = 18


@dataclass(frozen=True)
class ClipNotes:
    """What clip.json says.

    Attributes:
        fps: frames per second, None where it does not say.
        origin: number of the first frame in the recording it was taken from, None where it does not say.
        times: seconds of each frame since the first, where the rate varies; else empty.
    """

    fps: Fraction | None = None
    origin: int | None = None
    times: tuple[Fraction, ...] = ()


def frame_paths(folder: str | os.PathLike[str]) -> tuple[list[Path], int]:
    """The frames in order of the last number in their names, and the first number.

    Raises:
        MediaError: no frames, a name without a number, a number twice, or a number missing.
    """
    numbered: dict[int, Path] = {}
    with media_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.lower().endswith(_SUFFIXES):
                continue
            number = _last_number(entry.name, folder)
            if number in numbered:
                names = sorted((numbered[number].name, entry.name))
                raise MediaError(f"frame {number} is twice in {shown(folder)}: {shown(', '.join(names))}", "it once")
            if len(numbered) >= LIMITS.max_frames_in_folder:
                raise MediaError(f"{shown(folder)} holds too many frames", f"at most {LIMITS.max_frames_in_folder}")
            numbered[number] = Path(entry.path)
    if not numbered:
        raise MediaError(f"folder {shown(folder)} holds no frame", "numbered png, jpg or bmp files")
    first, last = min(numbered), max(numbered)
    if last - first + 1 != len(numbered):
        missing = next(number for number in range(first, last) if number not in numbered)
        raise MediaError(f"frame {missing} is missing in {shown(folder)}", f"every number from {first} to {last}")
    return [numbered[number] for number in range(first, last + 1)], first


def _last_number(name: str, folder: str | os.PathLike[str]) -> int:
    numbers = re.findall(r"[0-9]+", name.rpartition(".")[0])
    if not numbers or len(numbers[-1]) > _MAX_DIGITS:
        raise MediaError(f"{shown(name)} in {shown(folder)} has no usable number", "names like frame_0001.png")
    return int(numbers[-1])


def read_notes(folder: str | os.PathLike[str]) -> ClipNotes:
    """What clip.json in the folder says; nothing where there is none.

    Raises:
        MediaError: it is no JSON object, too large, or says something that makes no sense.
    """
    path = Path(folder) / CLIP_JSON
    if not os.path.lexists(path):
        return ClipNotes()
    notes = read_json(path, 'something like {"fps": 200}')
    try:
        fps = None if notes.get("fps") is None else parse_fps(notes["fps"], "fps")
    except OptionError as error:
        raise MediaError(f"{shown(path)}: {error.got}", error.expected) from None
    origin = notes.get("origin")
    return ClipNotes(fps, origin if type(origin) is int else None, _times(notes.get("times"), path))


def _times(given: object, path: Path) -> tuple[Fraction, ...]:
    parsed = [parse_number(time) for time in given] if isinstance(given, list) else []
    times = tuple(time for time in parsed if time is not None)
    if len(times) != len(parsed) or any(after <= before for before, after in itertools.pairwise(times)):
        raise MediaError(f"{shown(path)}: times do not grow", "times in seconds, each later than the one before")
    return times


def folder_info(folder: str | os.PathLike[str]) -> ClipInfo:
    """Facts about a folder of frames from its listing, clip.json and the first frame's header.

    Raises:
        MediaError: as `frame_paths` and `read_notes`.
    """
    paths, first = frame_paths(folder)
    notes = read_notes(folder)
    if notes.times and len(notes.times) != len(paths):
        got = f"{CLIP_JSON} in {shown(folder)} has {len(notes.times)} times"
        raise MediaError(got, f"one for each of {len(paths)} frames")
    width, height, rotation, _ = picture_size(paths[0])
    check_size(width, height, LIMITS.max_video_pixels, shown(paths[0]))
    duration = None if notes.fps is None else float(len(paths) / notes.fps)
    if notes.times:
        duration = float(notes.times[-1] - notes.times[0] + 1 / (notes.fps or DEFAULT_FPS))
    return ClipInfo(
        "folder",
        width,
        height,
        notes.fps,
        len(paths),
        duration,
        bool(notes.times),
        rotation=rotation,
        origin=first if notes.origin is None else notes.origin,
        container="folder",
    )


def read_folder(folder: str | os.PathLike[str]) -> Generator[Frame, None, None]:
    """The frames of a folder, one at a time; without a rate in clip.json at `DEFAULT_FPS`.

    Raises:
        MediaError: as `frame_paths`, or a frame is damaged or of another size than the first.
    """
    paths, _ = frame_paths(folder)
    notes = read_notes(folder)
    fps, size = notes.fps or DEFAULT_FPS, None
    for index, path in enumerate(paths):
        image = read_picture(path)
        size = size or image.shape
        if image.shape != size:
            got, expected = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, size))
            raise MediaError(f"{shown(path)} is {got}", f"{expected} like the frames before it")
        time = notes.times[index] - notes.times[0] if notes.times else index / fps
        yield Frame(image, index, time)
