"""What a clip is made of: frames, facts about the clip, and the span of it that is wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError, OptionError

#: Frames per second of a clip that does not say (a folder without clip.json, a single picture).
DEFAULT_FPS = Fraction(25)


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        image: uint8 [H, W, 3], RGB, upright, C-contiguous.
        index: position in the whole clip, from 0, whatever `start` was.
        time: seconds since the clip's first frame, exact.
    """

    image: np.ndarray
    index: int
    time: Fraction


@dataclass(frozen=True)
class ClipInfo:
    """Facts about a clip, taken from its header (and, for a video, its first frame).

    Attributes:
        kind: "video", "gif", "folder" or "picture".
        width, height: of the upright frames in pixels.
        fps: frames per second; the average where `variable_rate`; None where the clip does not say.
        frame_count: None where the header does not say.
        duration_s: seconds, None where unknown.
        variable_rate: the gaps between frames differ, so only `Frame.time` tells when a frame is shown.
        has_audio: a sound track is there.
        rotation: degrees clockwise that were applied to make the frames upright: 0, 90, 180 or 270.
        origin: number of the first frame (from the file names of a folder; else 0).
        start_s: when the first frame is shown on the file's own clock (which its sound track shares).
        container: "mp4", "webm", "gif", "png", "jpeg", "bmp" or "folder".
    """

    kind: str
    width: int
    height: int
    fps: Fraction | None = None
    frame_count: int | None = None
    duration_s: float | None = None
    variable_rate: bool = False
    has_audio: bool = False
    rotation: int = 0
    origin: int = 0
    start_s: Fraction = Fraction(0)
    container: str = ""


@dataclass(frozen=True)
class Span:
    """The frames wanted: from `start` up to but without `end`, each a frame index or seconds (a Fraction) or None."""

    start: int | Fraction | None = None
    end: int | Fraction | None = None

    def before(self, index: int, time: Fraction) -> bool:
        """True while the span has not begun."""
        return self.start is not None and (index if isinstance(self.start, int) else time) < self.start

    def after(self, index: int, time: Fraction) -> bool:
        """True once the span is over."""
        return self.end is not None and (index if isinstance(self.end, int) else time) >= self.end


def parse_moment(value: int | str | None, name: str) -> int | Fraction | None:
    """A frame index (12 or "12") or seconds ("1.5s", "3/2s") as int or Fraction.

    Raises:
        OptionError: neither, or negative.
    """
    if value is None:
        return None
    text = str(value).strip()
    seconds = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?|\d{1,9}/[1-9]\d{0,8})\s*s", text)
    if seconds:
        return Fraction(seconds.group(1))
    if isinstance(value, (int, str)) and not isinstance(value, bool) and re.fullmatch(r"\d{1,12}", text):
        return int(text)
    raise OptionError(f"{name} is {value!r}", 'a frame number like 12 or seconds like "1.5s"')


def parse_span(start: int | str | None, end: int | str | None) -> Span:
    """`start` and `end` as given by a user.

    Raises:
        OptionError: not a moment, or the end is not behind the start.
    """
    span = Span(parse_moment(start, "start"), parse_moment(end, "end"))
    same_unit = isinstance(span.start, int) == isinstance(span.end, int)
    if span.end is not None and (span.end <= 0 or (span.start is not None and same_unit and span.end <= span.start)):
        raise OptionError(f"start {start!r} and end {end!r} leave no frame", "an end behind the start")
    return span


def check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    """Refuses sizes outside `LIMITS`, before anything of that size is allocated.

    Raises:
        MediaError: too small or too many pixels.
    """
    if min(width, height) < LIMITS.min_side:
        raise MediaError(f"{name} is {width}x{height}", f"at least {LIMITS.min_side} pixels on each side")
    if width * height > max_pixels:
        raise MediaError(f"{name} is {width}x{height}", f"at most {max_pixels} pixels", "Scale it down first.")


def snap(time: Fraction, index: int, fps: Fraction | None, tick: Fraction) -> Fraction:
    """`index / fps` where the stored time differs from it only by rounding to the file's clock, else that time."""
    regular = time if fps is None else index / fps
    return regular if abs(regular - time) <= tick else time


def parse_number(value: object) -> Fraction | None:
    """A non-negative number from an int, float, Fraction or text like "29.97" or "30000/1001"; None for all else."""
    text = str(value) if isinstance(value, (int, float, str, Fraction)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d{1,18}(\.\d{1,18})?|\d{1,18}/[1-9]\d{0,17}", text):
        return None
    return Fraction(text)


def parse_fps(value: object, name: str = "fps") -> Fraction:
    """Frames per second from a number, Fraction or text like "30000/1001".

    Raises:
        OptionError: no number, or not in (0, 100000].
    """
    fps = parse_number(value)
    if fps is None or not 0 < fps <= 100_000:
        raise OptionError(f"{name} is {str(value)[:40]!r}", 'frames per second like 200 or "30000/1001"')
    return fps
