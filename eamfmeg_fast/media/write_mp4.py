"""Writes mp4: H.264 from PyAV, exact times, sound carried over, the mark in its metadata."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.audio import AudioFeed
from eamfmeg_fast.media.mark import append_xmp, source_type_of

_FINEST_TICK = 90_000
_BT709, _LIMITED = 1, 1
_CHROMA = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND


def tick_for(fps: Fraction) -> Fraction:
    """The longest time base of at most 1/90000 s in which `1 / fps` is a whole number of ticks."""
    steps = math.ceil(Fraction(_FINEST_TICK) / fps)
    return 1 / (fps * steps)


class Mp4Sink:
    """x264: yuv420p for even sizes, yuv444p for odd ones, RGB with qp 0 when lossless; BT.709, limited range.

    Args:
        path: the hidden file to write.
        fps, size: of the clip.
        mark: JSON text.
        audio_from: clip whose sound is carried over, or None.
        first: time of the first frame on that clip's clock, in seconds.
        lossless: RGB H.264 with qp 0 (libx264rgb): bit-exact, but browsers do not play it.
        crf: of x264 otherwise, 0 to 51, smaller is better.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        mark: str,
        audio_from: str | PathLike[str] | None,
        first: Fraction,
        lossless: bool,
        crf: int,
    ) -> None:
        self.path, self.fps, self.mark, self.lossless = path, fps, mark, lossless
        self.tick = tick_for(fps)
        self.last_pts = -1
        self.held: VideoFrame | None = None
        self.open = contextlib.ExitStack()
        try:
            options = {"movflags": "faststart", "fflags": "bitexact"}
            self.output = self.open.enter_context(av.open(str(path.absolute()), "w", format="mp4", options=options))
            self.output.metadata.update(comment=mark, description=f"Synthetic video; {source_type_of(mark)}")
            self.stream = self._add_stream(size, crf)
            feed = AudioFeed.open(audio_from, self.output, first) if audio_from is not None else None
            self.audio = self.open.enter_context(feed) if feed is not None else None
        except BaseException:
            self.close()
            raise

    def _add_stream(self, size: tuple[int, int], crf: int) -> VideoStream:
        codec = "libx264rgb" if self.lossless else "libx264"
        options = {"qp": "0"} if self.lossless else {"crf": str(crf)}
        # Without B-frames every frame is coded equally well, and varying rates store the durations in the right order.
        options |= {"preset": "medium", "bf": "0"}
        stream = cast(VideoStream, self.output.add_stream(codec, rate=self.fps, options=options))
        even = size[0] % 2 == 0 and size[1] % 2 == 0
        stream.width, stream.height = size
        stream.pix_fmt = "rgb24" if self.lossless else "yuv420p" if even else "yuv444p"
        stream.time_base = stream.codec_context.time_base = self.tick
        if not self.lossless:
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
        return stream

    def put(self, image: np.ndarray, time: Fraction) -> None:
        """Encodes one frame, once the next one tells how long it is shown."""
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        if not self.lossless:
            pixel_format = self.stream.pix_fmt
            frame = frame.reformat(
                format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=_CHROMA
            )
        frame.pts, frame.time_base = round(time / self.tick), self.tick
        if frame.pts <= self.last_pts:
            raise MediaError("two frames are closer together than an mp4 can tell", f"{float(self.tick):g} s apart")
        self.last_pts = frame.pts
        self._release(frame.pts)
        self.held = frame

    def _release(self, until: int) -> None:
        if self.held is None:
            return
        frame, self.held = self.held, None
        frame.duration = until - cast(int, frame.pts)
        self.output.mux(self.stream.encode(frame))
        if self.audio is not None:
            self.audio.pump(until * self.tick)

    def finish(self) -> None:
        """Flushes the encoder, closes the file and puts the XMP packet behind it."""
        self._release(self.last_pts + round(1 / self.fps / self.tick))
        self.output.mux(self.stream.encode(None))
        if self.audio is not None:
            self.audio.finish()
        self.close()
        append_xmp(self.path, self.mark)

    def close(self) -> None:
        """Closes the file and the clip that the sound comes from."""
        self.held = None
        self.open.close()
