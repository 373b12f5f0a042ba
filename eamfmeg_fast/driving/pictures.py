"""Driving clips made of pictures: files, folders, and frames handed over."""

from __future__ import annotations

import itertools
import time as clock
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

from eamfmeg_fast.driving.base import MAX_CANDIDATES, MIN_CANDIDATES, Detect, DrivingOptions, Shot, most_alike, single
from eamfmeg_fast.driving.neutral import MAX_OPENING, OPENING_S, steadied
from eamfmeg_fast.errors import InputError, MediaError, OptionError
from eamfmeg_fast.faces import Crop, FaceFinder, FaceWatch, Picture, check_picture, cut, find_crop
from eamfmeg_fast.media import DEFAULT_FPS, ClipInfo, Frame, open_clip, parse_fps
from eamfmeg_fast.media.frames import parse_moment
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.provenance import sha256_of

Moment = int | str | None
_SECOND = Fraction(1)


class _Pictures:
    """What files and arrays share: the fixed crop, the watch over the face, the reference frame."""

    has_pictures = True
    _steadies = False
    name: str
    fps: Fraction

    def __init__(self, options: DrivingOptions, size: int, finder: FaceFinder | None) -> None:
        self.options, self.size, self._finder = options, size, finder
        self.crop: Crop | None = None
        self._watches = False

    def frames(self, start: Moment, end: Moment) -> Generator[Frame, None, None]:
        """The raw frames of a span."""
        raise NotImplementedError

    def shots(self) -> Iterator[Shot]:
        """The frames wanted, cropped."""
        watch: FaceWatch | None = None
        begin = clock.perf_counter()
        for frame in self.frames(self.options.start, self.options.end):
            read = clock.perf_counter()
            crop = self._crop(frame.image)
            if self._watches and watch is None:
                watch = FaceWatch(self._face_finder(), crop, frame.image)
            lost = watch is not None and watch.lost(frame.image)
            image = self._cut(frame.image, crop)
            done = clock.perf_counter()
            timings = {"read": (read - begin) * 1e3, "face": (done - read) * 1e3}
            yield Shot(frame.index, frame.time, image, lost=lost, timings=timings)
            begin = clock.perf_counter()

    def initial(self, detect: Detect, target: Keypoints) -> tuple[Keypoints, range]:
        """The neutral face's keypoints, and the frames they are of.

        Raises:
            OptionError: the reference frame asked for is not in the clip.
        """
        at, first = self.options.reference_frame, self._first(self.options.start, self.options.end)
        crop = self._crop(first.image)
        if at == "auto":
            return most_alike(self._candidates(detect, crop), target)
        if at is None and self._steadies:
            opening = self._candidates(detect, crop, OPENING_S, 1, MAX_OPENING)
            mean, count = steadied(points for _, points in opening)
            return mean, range(first.index, first.index + count)
        if at is not None and at != first.index:
            try:
                first = self._first(int(at), int(at) + 1)
            except MediaError as error:
                raise OptionError(f"reference frame {at} of {self.name}: {error.got}", "a frame of the clip") from error
        return detect(self._cut(first.image, crop)), single(first.index)

    def _candidates(
        self,
        detect: Detect,
        crop: Crop,
        span_s: Fraction = _SECOND,
        least: int = MIN_CANDIDATES,
        most: int = MAX_CANDIDATES,
    ) -> Iterator[tuple[int, Keypoints]]:
        begin: Fraction | None = None
        with closing(self.frames(self.options.start, self.options.end)) as frames:
            for number, frame in enumerate(frames):
                begin = frame.time if begin is None else begin
                if number >= most or (number >= least and frame.time - begin >= span_s):
                    return
                yield frame.index, detect(self._cut(frame.image, crop))

    def _first(self, start: Moment, end: Moment) -> Frame:
        with closing(self.frames(start, end)) as frames:
            first = next(frames, None)
        if first is None:
            raise MediaError(f"{self.name} holds no frame", "at least one")
        return first

    def _cut(self, image: Picture, crop: Crop) -> Picture:
        height, width = image.shape[:2]
        if crop.x + crop.width > width or crop.y + crop.height > height:
            raise MediaError(f"a frame of {self.name} is {width}x{height}", f"one that holds the crop {crop}")
        return cut(image, crop, self.size)

    def _crop(self, image: Picture) -> Crop:
        """The box of the clip, found in the first picture that comes along."""
        if self.crop is None:
            mode = self.options.crop
            if mode is None:
                mode = "none" if image.shape[:2] == (self.size, self.size) else "auto"
            self._watches = mode == "auto"
            self.crop = find_crop(image, mode, finder=self._face_finder() if self._watches else None, name=self.name)
        return self.crop

    def _face_finder(self) -> FaceFinder:
        if self._finder is None:
            self._finder = FaceFinder()
        return self._finder


class ClipDriving(_Pictures):
    """A clip on disk: video, GIF, folder of frames or single picture."""

    _steadies = True

    def __init__(self, path: Path, options: DrivingOptions, size: int, finder: FaceFinder | None) -> None:
        super().__init__(options, size, finder)
        with open_clip(path, start=options.start, end=options.end) as reader:
            self.info: ClipInfo = reader.info
        self.path: Path | None = path
        self.name, self.origin = str(path), self.info.origin
        self.fps, self.count = self.info.fps or DEFAULT_FPS, _count(self.info, options)

    def frames(self, start: Moment, end: Moment) -> Generator[Frame, None, None]:
        """The raw frames of a span."""
        with open_clip(str(self.path), start=start, end=end) as reader:
            yield from reader

    def sha256(self) -> str:
        """Hash of the file or folder."""
        return sha256_of(str(self.path))


class ArrayDriving(_Pictures):
    """Frames handed over; a sequence can be read again, an iterator only once."""

    origin = 0

    def __init__(self, given: Iterable[Any], options: DrivingOptions, size: int, finder: FaceFinder | None) -> None:
        super().__init__(options, size, finder)
        if options.start is not None or options.end is not None:
            raise OptionError("start or end for frames handed over", "them for files only", "Slice the frames.")
        self.path: Path | None = None
        self.name, self.fps = "the driving frames", parse_fps(options.fps, "fps")
        self.count: int | None = len(given) if isinstance(given, Sized) else None
        self._once = iter(given) is given
        if self._once and options.reference_frame not in (None, 0):
            raise InputError("a chosen reference frame of an iterator, read only once", "a list or a file")
        self._given, self._peeked, self._used = given, [], False  # type: ignore[var-annotated]

    def frames(self, start: Moment, end: Moment) -> Generator[Frame, None, None]:
        """The frames of a span; the first one of an iterator may be looked at before the others are read."""
        if self._once:
            yield from self._single_pass()
        else:
            stop = None if end is None else int(end)
            for index, image in enumerate(itertools.islice(self._given, stop)):
                if start is None or index >= int(start):
                    yield self._frame(index, image)

    def _single_pass(self) -> Iterator[Frame]:
        if self._used:
            raise InputError("the driving frames are used up", "a list or a file to read them again")
        if not self._peeked:
            self._peeked.extend(itertools.islice(self._given, 1))
        if self._peeked:
            yield self._frame(0, self._peeked[0])
        self._used = True
        self._peeked.clear()
        for index, image in enumerate(self._given, 1):
            yield self._frame(index, image)

    def _frame(self, index: int, image: Any) -> Frame:
        image = check_picture(image.image if isinstance(image, Frame) else image)
        return Frame(image, index, index / self.fps)

    def sha256(self) -> str:
        """Nothing: arrays have no file."""
        return ""


def _count(info: ClipInfo, options: DrivingOptions) -> int | None:
    """Frames to come, where the header tells."""
    if info.frame_count is None:
        return None
    rate = info.fps or DEFAULT_FPS
    moments = (parse_moment(options.start, "start"), parse_moment(options.end, "end"))
    begin, end = (round(at * rate) if isinstance(at, Fraction) else at for at in moments)
    return max(min(info.frame_count if end is None else end, info.frame_count) - (begin or 0), 0)
