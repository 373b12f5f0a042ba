"""Reads mp4, mov, webm and mkv, frame by frame, with the demuxer forced and no other file in reach."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.boxes import check_mp4
from eamfmeg_fast.media.ebml import check_webm
from eamfmeg_fast.media.frames import DEFAULT_FPS, ClipInfo, Frame, check_size, snap
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown
from eamfmeg_fast.media.sniff import VIDEOS, sniff

_DEMUXERS = {"mp4": "mov", "webm": "matroska"}
_MAX_THREADS = 4
_ONE_FRAME_A_PACKET = ("h264", "hevc", "libdav1d", "av1", "mjpeg", "vp9")
_PACKETS_LOOKED_AT = 240
_CHROMA = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


def _refuse_to_open(*_: object, **__: object) -> Any:
    raise MediaError("the file names another file", "a file that stands alone")


@contextlib.contextmanager
def open_container(path: str | os.PathLike[str]) -> Iterator[tuple[InputContainer, str]]:
    """The demuxed file and its kind ("mp4" or "webm"), after its boxes have been checked against its length.

    Raises:
        MediaError: missing, of another kind, cut, damaged, or it wants another file.
    """
    with open_regular(path) as file, media_errors(path):
        kind = check_video(file, path)
        options = {"max_pixels": str(LIMITS.max_video_pixels), "enable_drefs": "0", "use_absolute_path": "0"}
        container = av.open(
            file, "r", format=_DEMUXERS[kind], options=options, metadata_errors="replace", io_open=_refuse_to_open
        )
        with container:
            yield container, kind


def check_video(file: BinaryIO, path: str | os.PathLike[str]) -> str:
    """The kind of video, after the sizes it states have been checked against the file.

    Raises:
        MediaError: no video, cut, or it states counts that no such file can hold.
    """
    kind = sniff(file, path)
    if kind not in VIDEOS:
        raise MediaError(f"{shown(path)} is {kind}", "a video (mp4, mov, webm, mkv)")
    size = os.fstat(file.fileno()).st_size
    if kind == "mp4":
        check_mp4(file, size, path)
    else:
        check_webm(file, size, path)
    file.seek(0)
    return kind


def video_stream(container: InputContainer, path: str | os.PathLike[str]) -> VideoStream:
    """The first moving picture (cover art does not count).

    Raises:
        MediaError: none, no decoder for it, or of a size out of bounds.
    """
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise MediaError(f"{shown(path)} is coded in a way that is not known here", "h264, hevc, vp9, av1, ...")
        context = stream.codec_context
        check_size(context.width, context.height, LIMITS.max_video_pixels, shown(path))
        context.options = {"max_pixels": str(LIMITS.max_video_pixels), "err_detect": "explode"}
        context.thread_type = "AUTO"
        context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        return stream
    raise MediaError(f"{shown(path)} holds no moving picture", "a video")


def video_info(path: str | os.PathLike[str]) -> ClipInfo:
    """Facts about a video from its header and its first frame.

    Raises:
        MediaError: as `open_container`, or there is no frame.
    """
    with open_container(path) as (container, kind):
        stream = video_stream(container, path)
        fps = _rate(stream)
        count = sum(not entry.is_discard for entry in stream.index_entries) if kind == "mp4" else stream.frames
        duration = None
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        variable = _is_variable(container, stream, kind)
        has_audio = any(audio.codec_context is not None for audio in container.streams.audio)
    with open_container(path) as (container, kind):
        stream = video_stream(container, path)
        first = next(_decode(container, stream, kind, path), None)
        if first is None:
            raise MediaError(f"{shown(path)} holds no frame", "a video with at least one frame")
        turns = _quarter_turns(first)
        width, height = (first.height, first.width) if turns % 2 else (first.width, first.height)
        start = _moment(first, stream) or Fraction(0)
    return ClipInfo(
        "video", width, height, fps, count or None, duration, variable, has_audio, (-90 * turns) % 360, 0, start, kind
    )


def _rate(stream: VideoStream) -> Fraction | None:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 0 < rate <= 100_000:
            return Fraction(rate)
    return None


def _is_variable(container: InputContainer, stream: VideoStream, kind: str) -> bool:
    ticks = [entry.timestamp for entry in stream.index_entries] if kind == "mp4" else []
    if len(ticks) < 2:
        ticks = []
        for packet in container.demux(stream):
            if packet.pts is not None:
                ticks.append(packet.pts)
            if len(ticks) >= _PACKETS_LOOKED_AT:
                break
    ticks.sort()
    gaps = np.diff(np.array(ticks[:-1] if len(ticks) > 3 else ticks, dtype=np.int64))
    return bool(gaps.size and gaps.max() - gaps.min() > max(2.0, 0.02 * float(gaps.mean())))


def _quarter_turns(frame: VideoFrame) -> int:
    """Quarter turns counterclockwise that make the frame upright."""
    return frame.rotation // 90 % 4 if frame.rotation % 90 == 0 else 0


def _moment(frame: VideoFrame, stream: VideoStream) -> Fraction | None:
    base = frame.time_base or stream.time_base
    return None if frame.pts is None or base is None else frame.pts * Fraction(base)


def _decode(
    container: InputContainer, stream: VideoStream, kind: str, path: str | os.PathLike[str]
) -> Iterator[VideoFrame]:
    """Every frame; raises where there are fewer packets than the file states, or fewer frames than packets."""
    packets = owed = 0
    first = None
    for packet in container.demux(stream):
        if packet.size:
            packets += 1
            first = packet.pts if first is None else first
            # Pictures before the first keyframe in time lean on what was cut away, and may be left out.
            owed += not packet.is_discard and (packet.pts is None or first is None or packet.pts >= first)
        frames = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise MediaError(f"{shown(path)} is cut or damaged at packet {packets}", "a whole video")
        owed -= len(frames)
        yield from frames
    if kind != "mp4":
        return
    stated = len(stream.index_entries)
    if packets < stated or (owed > 0 and stream.codec_context.name in _ONE_FRAME_A_PACKET):
        lost = max(stated - packets, owed)
        raise MediaError(f"{shown(path)} is cut or damaged: {lost} of {stated} frames are lost", "a whole video")


def read_video(path: str | os.PathLike[str]) -> Generator[Frame, None, None]:
    """Frames of a video, upright, with exact times; colours by the matrix the file states (else BT.601).

    Raises:
        MediaError: as `open_container`, or the stream ends early, is damaged or changes its size.
    """
    with open_container(path) as (container, kind):
        stream = video_stream(container, path)
        fps, tick = _rate(stream), Fraction(stream.time_base or Fraction(1, 90_000))
        origin, last, shape = None, None, None
        for index, frame in enumerate(_decode(container, stream, kind, path)):
            shape = shape or (frame.width, frame.height)
            if (frame.width, frame.height) != shape:
                raise MediaError(f"{shown(path)} changes its size at frame {index}", "frames of one size")
            moment = _moment(frame, stream)
            if moment is None:
                moment = Fraction(0) if last is None else last + 1 / (fps or DEFAULT_FPS)
            if last is not None and moment <= last:
                moment = last + tick
            origin, last = moment if origin is None else origin, moment
            pixels = np.rot90(frame.to_ndarray(format="rgb24", interpolation=_CHROMA), _quarter_turns(frame))
            yield Frame(np.ascontiguousarray(pixels), index, snap(moment - origin, index, fps, tick))
