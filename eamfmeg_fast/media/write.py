"""Writes clips: aside first, renamed when whole, removed when anything goes wrong."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import DtypeError, MediaError, OptionError, ShapeError
from eamfmeg_fast.media.frames import check_size, parse_fps
from eamfmeg_fast.media.mark import HasJson, mark_text
from eamfmeg_fast.media.safe_file import Aside, media_errors, refuse_inputs, shown
from eamfmeg_fast.media.write_folder import FolderSink
from eamfmeg_fast.media.write_gif import FASTEST_FPS, GifSink
from eamfmeg_fast.media.write_mp4 import Mp4Sink

_MAX_CRF = 51
AnyPath = str | os.PathLike[str]


class Sink(Protocol):
    """Where frames go; one for each kind of output."""

    def put(self, image: np.ndarray, time: Fraction) -> None:
        """Takes one frame, shown `time` seconds after the first."""

    def finish(self) -> None:
        """Writes what is still held back."""

    def close(self) -> None:
        """Lets go of files, whether or not the output is whole."""


class ClipWriter:
    """A clip being written; made by `open_writer`, used as a context manager.

    Attributes:
        path: the final place, which is touched only on a clean exit.
        fps: frames per second.
        size: (width, height) in pixels.
        frame_count: frames written so far.
    """

    def __init__(
        self, aside: Aside, make: Callable[[Path, Fraction], Sink], fps: Fraction, size: tuple[int, int]
    ) -> None:
        self.path, self.fps, self.size, self.frame_count = aside.final, fps, size, 0
        self._aside, self._make = aside, make
        self._sink: Sink | None = None
        self._first = self._last = Fraction(0)
        self._opened = False

    def __enter__(self) -> ClipWriter:
        try:
            self._aside.open()
            self._opened = True
        except BaseException:
            self.discard()
            raise
        return self

    def discard(self) -> None:
        """Leave nothing behind of a clip that is not finished; harmless after the end."""
        self._opened = False
        try:
            # After a failure the codecs fail again on closing; the first error is the one to be told.
            with contextlib.suppress(Exception):
                if self._sink is not None:
                    self._sink.close()
        finally:
            self._aside.discard()

    def write(self, image: np.ndarray, time: Fraction | None = None) -> None:
        """Appends one frame.

        Args:
            image: uint8 [H, W, 3], RGB, of the writer's size.
            time: when it is shown, in seconds on the driving clip's clock (`Frame.time`); None: `1 / fps` after the
                frame before it.

        Raises:
            ShapeError, DtypeError: not such a picture.
            MediaError: time does not grow, or the file cannot be written.
        """
        width, height = self.size
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            raise DtypeError(f"a frame is {getattr(image, 'dtype', type(image).__name__)}", "a uint8 array")
        if image.shape != (height, width, 3):
            raise ShapeError(f"a frame is {list(image.shape)}", f"[{height}, {width}, 3]")
        if not self._opened:
            raise MediaError(f"the writer of {shown(self.path)} is not open", "a with block around it")
        if time is None:
            time = self._last + 1 / self.fps if self.frame_count else Fraction(0)
        time = Fraction(time)
        if self.frame_count and time <= self._last:
            raise MediaError(f"frame {self.frame_count} is not later than the one before it", "times that grow")
        with media_errors(self.path, "written"):
            if self._sink is None:
                self._first = time
                self._sink = self._make(self._aside.path, time)
            self._sink.put(np.ascontiguousarray(image), time - self._first)
        self._last = time
        self.frame_count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened = False
        try:
            if kind is None:
                self._finish()
        finally:
            self.discard()

    def _finish(self) -> None:
        if self._sink is None:
            raise MediaError(f"no frame was written to {shown(self.path)}", "at least one")
        with media_errors(self.path, "written"):
            self._sink.finish()
            self._sink.close()
        self._aside.commit()


def open_writer(
    path: AnyPath,
    *,
    fps: Fraction | int | float | str,
    size: tuple[int, int],
    mark: str | HasJson | None = None,
    audio_from: AnyPath | None = None,
    lossless: bool = False,
    crf: int = 12,
    overwrite: bool = False,
    inputs: Iterable[AnyPath] = (),
    origin: int = 0,
) -> ClipWriter:
    """A writer for the kind of output that the name asks for; nothing is created before its `with` block.

    Args:
        path: ends in .mp4 or .gif, or names a folder for PNGs ("frames/" or no suffix).
        fps: frames per second, kept exactly (the ticks of an mp4, at most 1/90000 s, divide `1 / fps`).
        size: (width, height) in pixels, odd ones too.
        mark: the synthetic mark, an object with `to_json` or JSON text; None: one that names only this software.
        audio_from, lossless, crf: mp4 only, see `Mp4Sink`; the clip need not have sound.
        overwrite: a filled folder of frames may be replaced (a file always is); inputs: what the output must not be.
        origin: number of the first frame in a folder's file names.

    Raises:
        OptionError: an argument makes no sense.
        MediaError: the output is an input, or cannot be there.
    """
    rate, text = parse_fps(fps), mark_text(mark)
    if not 0 <= crf <= _MAX_CRF or origin < 0:
        raise OptionError(f"crf is {crf} and origin {origin}", f"crf from 0 to {_MAX_CRF} and origin from 0")
    final, kind = _kind_of(path)
    check_size(*size, LIMITS.max_video_pixels, shown(path))
    refuse_inputs(final, inputs if audio_from is None else (*inputs, audio_from))
    if kind == "gif" and rate > FASTEST_FPS:
        warnings.warn(
            f"a GIF plays at {FASTEST_FPS} frames per second, not {float(rate):g}; write an mp4", stacklevel=2
        )
    aside = Aside(final, kind == "folder", overwrite)
    return ClipWriter(aside, _maker(kind, rate, size, text, origin, (audio_from, lossless, crf)), rate, size)


def _maker(
    kind: str, fps: Fraction, size: tuple[int, int], mark: str, origin: int, mp4: tuple[AnyPath | None, bool, int]
) -> Callable[[Path, Fraction], Sink]:
    """What opens the hidden file or folder, once the first frame and its time are known."""

    def make(place: Path, first: Fraction) -> Sink:
        if kind == "mp4":
            audio_from, lossless, crf = mp4
            return Mp4Sink(place, fps, size, mark, audio_from, first, lossless, crf)
        return GifSink(place, fps, size, mark) if kind == "gif" else FolderSink(place, fps, mark, origin)

    return make


def _kind_of(path: str | os.PathLike[str]) -> tuple[Path, str]:
    text, final = os.fspath(path), Path(path)
    suffix = final.suffix.lower()
    if not final.name or final.name == "..":
        raise OptionError(f"output {text!r} is no name", "out.mp4, out.gif or a folder")
    if text.endswith(("/", os.sep)) or not suffix:
        return final, "folder"
    if suffix not in (".mp4", ".gif"):
        raise OptionError(f"output {text!r} ends in {suffix}", ".mp4, .gif, or a folder (no suffix, or a last slash)")
    return final, suffix[1:]
