"""Opens any clip: a video, a GIF, a folder of frames or a single picture."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.folder import folder_info, read_folder
from eamfmeg_fast.media.frames import ClipInfo, Frame, Span, check_size, parse_span
from eamfmeg_fast.media.gif import gif_info, read_gif
from eamfmeg_fast.media.picture import picture_size, read_picture
from eamfmeg_fast.media.safe_file import open_regular, shown
from eamfmeg_fast.media.sniff import PICTURES, sniff
from eamfmeg_fast.media.video import read_video, video_info

Path = str | os.PathLike[str]


def probe(path: Path) -> ClipInfo:
    """Facts about a clip, from headers and at most one decoded frame.

    Raises:
        MediaError: missing, of no known kind, cut, damaged, too small or too large.
    """
    return _kind(path)[0](path)


def open_clip(path: Path, *, start: int | str | None = None, end: int | str | None = None) -> ClipReader:
    """Opens a clip for reading frame by frame; memory does not grow with its length.

    Args:
        path: mp4, mov, webm, mkv, gif, a folder of numbered png/jpg/bmp frames, or one picture.
        start, end: the first frame wanted and the one behind the last, as frame index (from 0, also in a folder whose
            numbering begins elsewhere) or as seconds ("1.5s").

    Returns:
        A context manager to iterate over; every iteration begins anew.

    Raises:
        MediaError: as `probe`; while iterating also if the clip turns out to be damaged further on.
        OptionError: start or end make no sense.
    """
    span = parse_span(start, end)
    info_of, frames_of = _kind(path)
    return ClipReader(path, info_of(path), span, frames_of)


def _kind(path: Path) -> tuple[Callable[[Path], ClipInfo], Callable[[Path], Generator[Frame, None, None]]]:
    if os.path.isdir(path):
        return folder_info, read_folder
    with open_regular(path) as file:
        kind = sniff(file, path)
    if kind in PICTURES:
        return _picture_info, _read_single
    return (gif_info, read_gif) if kind == "gif" else (video_info, read_video)


def _picture_info(path: Path) -> ClipInfo:
    width, height, rotation, kind = picture_size(path)
    check_size(width, height, LIMITS.max_picture_pixels, shown(path))
    return ClipInfo("picture", width, height, frame_count=1, rotation=rotation, container=kind)


def _read_single(path: Path) -> Generator[Frame, None, None]:
    yield Frame(read_picture(path), 0, Fraction(0))


@dataclass
class ClipReader:
    """The frames of one clip within a span; made by `open_clip`.

    Attributes:
        path: where it comes from.
        info: facts about the whole clip, not only the span.
        span: what of it is read.
    """

    path: Path
    info: ClipInfo
    span: Span
    frames_of: Callable[[Path], Generator[Frame, None, None]] = field(repr=False)
    _running: list[Generator[Frame, None, None]] = field(default_factory=list, init=False, repr=False)

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files of iterations that did not come to their end."""
        while self._running:
            self._running.pop().close()

    def __iter__(self) -> Iterator[Frame]:
        self._running = [
            generator for generator in self._running if inspect.getgeneratorstate(generator) != inspect.GEN_CLOSED
        ]
        frames = self._frames()
        self._running.append(frames)
        return frames

    def _frames(self) -> Generator[Frame, None, None]:
        count = given = 0
        with contextlib.closing(self.frames_of(self.path)) as frames:
            for frame in frames:
                count += 1
                if self.span.after(frame.index, frame.time):
                    break
                if not self.span.before(frame.index, frame.time):
                    given += 1
                    yield frame
        if not given:
            raise MediaError(f"{shown(self.path)} has no frame in the span asked for; {count} came before its end")
