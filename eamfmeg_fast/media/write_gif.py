"""Writes a GIF frame by frame: Pillow makes each frame, its blocks are joined here, so that no clip is held."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eamfmeg_fast.media.gif import walk_gif

#: No player shows a GIF faster.
FASTEST_FPS = 50
_SHORTEST_CS = 2
_LONGEST_CS = 65535
_COLOURS = 256
_SAMPLE_SIDE = 96
_LOOP_FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


class GifSink:
    """Every frame with a palette of its own; delays in centiseconds with the rounding error carried on.

    Players do not show a frame for less than 2 centiseconds, so above `FASTEST_FPS` it plays slower.
    """

    def __init__(self, path: Path, fps: Fraction, size: tuple[int, int], mark: str) -> None:
        self.fps = fps
        self.held: tuple[bytes, Fraction] | None = None
        self.shown_cs = 0
        self.file = path.open("wb")
        head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0)
        self.file.write(head + _LOOP_FOREVER + b"\x21\xfe" + _sub_blocks(mark.encode("ascii")))

    def put(self, image: np.ndarray, time: Fraction) -> None:
        """Quantises a frame and holds it until the next tells how long it is shown."""
        self._release(time)
        self.held = _frame_blocks(image), time

    def finish(self) -> None:
        """Writes the last frame and the end mark."""
        if self.held is not None:
            self._release(self.held[1] + 1 / self.fps)
        self.file.write(b"\x3b")

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def _release(self, until: Fraction) -> None:
        if self.held is None:
            return
        delay = min(max(round(until * 100) - self.shown_cs, _SHORTEST_CS), _LONGEST_CS)
        self.shown_cs += delay
        self.file.write(b"\x21\xf9\x04\x04" + struct.pack("<HBB", delay, 0, 0) + self.held[0])
        self.held = None


def _frame_blocks(image: np.ndarray) -> bytes:
    """The image block (descriptor, own palette, coded pixels) of one frame, cut out of a GIF that Pillow makes."""
    buffer = io.BytesIO()
    _quantised(Image.fromarray(image)).save(buffer, "GIF")
    data = buffer.getvalue()
    begin, end = walk_gif(buffer, "frame").parts[0][1:]
    palette_flags = data[10]
    palette = data[13 : 13 + (3 << ((palette_flags & 7) + 1))]
    if data[begin + 9] & 0x80 or not palette_flags & 0x80:
        return data[begin:end]
    flags = data[begin + 9] | 0x80 | palette_flags & 7
    return data[begin : begin + 9] + bytes([flags]) + palette + data[begin + 10 : end]


def _quantised(image: Image.Image) -> Image.Image:
    """At most 256 colours: exact where there are no more, else by a palette chosen on a sample, for speed."""
    if image.getcolors(_COLOURS) is not None or max(image.size) <= _SAMPLE_SIDE:
        return image.quantize(_COLOURS)
    sample = image.resize((min(image.width, _SAMPLE_SIDE), min(image.height, _SAMPLE_SIDE)), Image.Resampling.NEAREST)
    return image.quantize(palette=sample.quantize(_COLOURS), dither=Image.Dither.NONE)


def _sub_blocks(data: bytes) -> bytes:
    parts = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
