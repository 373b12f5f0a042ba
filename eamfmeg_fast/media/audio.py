"""Carries the sound of the driving clip over, packet by packet."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import cast

from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown
from eamfmeg_fast.media.sniff import VIDEOS, sniff
from eamfmeg_fast.media.video import open_container, video_info

#: What an mp4 holds as it is and players understand; all else becomes AAC.
_COPIED = ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus")
_AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_FRAME = 1024


class AudioFeed:
    """Copies the packets between two moments, or codes them as AAC where mp4 does not hold their kind.

    Packets stay whole and in step with the picture: the sound begins and ends within about 20 ms of it.

    Args:
        path: the clip; what is opened of it goes to `files`.
        output: the mp4 being written.
        begin: moment on the clip's own clock that becomes 0, in seconds.
    """

    def __init__(
        self, path: str | os.PathLike[str], files: contextlib.ExitStack, output: OutputContainer, begin: Fraction
    ) -> None:
        self.path, self.files, self.output, self.begin = path, files, output, begin
        clip = files.enter_context(open_container(path))[0]
        stream = _sound(clip)
        if stream is None:
            raise MediaError(f"{shown(path)} has no sound that can be decoded", "sound")
        context = stream.codec_context
        self.copied = context.name in _COPIED
        if self.copied:
            self.target = output.add_stream_from_template(stream)
        else:
            rate = min(_AAC_RATES, key=lambda known: abs(known - context.sample_rate))
            self.target = output.add_stream("aac", rate=rate)
            layout = self.target.codec_context.layout = "mono" if context.channels == 1 else "stereo"
            self.resampler = AudioResampler("fltp", layout, rate, _AAC_FRAME)
        self.packets: Iterator[Packet] = clip.demux(stream)
        self.waiting: Packet | None = None
        self.pieces: deque[AudioFrame] = deque()
        self.until = Fraction(0)

    @classmethod
    def open(cls, path: str | os.PathLike[str], output: OutputContainer, first: Fraction) -> AudioFeed | None:
        """The sound of a clip from `first` seconds of its pictures on; None where it has none (a GIF, a folder).

        Raises:
            MediaError: the clip cannot be read.
        """
        if os.path.isdir(path):
            return None
        with open_regular(path) as file:
            if sniff(file, path) not in VIDEOS:
                return None
        info = video_info(path)
        if not info.has_audio:
            return None
        with contextlib.ExitStack() as files:
            feed = cls(path, files, output, info.start_s + first)
            feed.files = files.pop_all()
            return feed

    def __enter__(self) -> AudioFeed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.close()

    def pump(self, until: Fraction) -> None:
        """Passes on what sounds before `until`, in seconds since the first frame written.

        Raises:
            MediaError: the sound is damaged.
        """
        self.until = until
        with media_errors(self.path):
            while (packet := self._next_before(until)) is not None:
                if packet.is_corrupt:
                    raise MediaError(f"the sound of {shown(self.path)} is cut or damaged", "a whole video")
                if self.copied:
                    self._copy(packet)
                else:
                    for frame in packet.decode():
                        self._decoded(self.resampler.resample(cast(AudioFrame, frame)))
            self._encode()

    def _next_before(self, until: Fraction) -> Packet | None:
        while True:
            packet, self.waiting = self.waiting or next(self.packets, None), None
            if packet is None:
                return None
            if packet.pts is None or packet.time_base is None:
                continue
            begins = packet.pts * packet.time_base - self.begin
            if begins >= until:
                self.waiting = packet
                return None
            if begins + (packet.duration or 0) * packet.time_base > 0:
                return packet

    def _copy(self, packet: Packet) -> None:
        packet.pts = cast(int, packet.pts) - round(self.begin / packet.time_base)
        packet.dts = packet.pts
        packet.stream = self.target
        self.output.mux(packet)

    def _decoded(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts = round((frame.pts * frame.time_base - self.begin) / frame.time_base)
                if frame.pts >= 0:
                    self.pieces.append(frame)

    def _encode(self) -> None:
        while self.pieces and cast(int, self.pieces[0].pts) * cast(Fraction, self.pieces[0].time_base) < self.until:
            self.output.mux(self.target.encode(self.pieces.popleft()))

    def finish(self) -> None:
        """Flushes the encoder, where there is one."""
        if not self.copied:
            self._decoded(self.resampler.resample(None))
            self._encode()
            self.output.mux(self.target.encode(None))


def _sound(clip: InputContainer) -> AudioStream | None:
    for stream in clip.streams.audio:
        if stream.codec_context is not None:
            return stream
    return None
