"""Reads GIFs frame by frame, after a walk over their blocks has shown that they are whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from PIL import Image

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.frames import ClipInfo, Frame, check_size, snap
from eamfmeg_fast.media.picture import upright
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown
from eamfmeg_fast.media.sniff import sniff

_MAX_COMMENT_BYTES = 1 << 20
_MAX_DECODED_PIXELS = 1 << 37
_NO_DELAY_CS = 10
_TICK = Fraction(1, 100)
_USUAL_RATES = tuple(Fraction(rate) for rate in ("25", "30", "24", "60", "15", "12", "30000/1001", "24000/1001"))


@dataclass(frozen=True)
class GifBlocks:
    """What a walk over a GIF's blocks finds.

    Attributes:
        width, height: of the screen in pixels.
        delays: how long each frame is shown, in centiseconds as stored.
        parts: position in the file of each image block: (graphic control extension or -1, image, end).
        comments: bytes of each comment.
    """

    width: int
    height: int
    delays: tuple[int, ...]
    parts: tuple[tuple[int, int, int], ...]
    comments: tuple[bytes, ...]


class _Walker:
    """State of one walk; `file` is read forward only."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.delays: list[int] = []
        self.parts: list[tuple[int, int, int]] = []
        self.comments: list[bytes] = []
        self.delay, self.control = 0, -1
        self.comment_bytes = 0

    def take(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def sub_blocks(self, keep: bool = False) -> bytes:
        kept = bytearray()
        while count := self.take(1)[0]:
            data = self.take(count)
            if keep:
                kept += data
            if len(kept) > _MAX_COMMENT_BYTES:
                raise ValueError("a comment of more than a megabyte")
        return bytes(kept)

    def extension(self, position: int) -> None:
        label = self.take(1)[0]
        data = self.sub_blocks(keep=label in (0xF9, 0xFE))
        if label == 0xF9 and len(data) >= 4:
            self.delay, self.control = struct.unpack("<xHx", data[:4])[0], position
        elif label == 0xFE:
            self.comment_bytes += len(data)
            if self.comment_bytes > _MAX_COMMENT_BYTES:
                raise ValueError("more than a megabyte of comments")
            self.comments.append(data)

    def image(self, position: int, width: int, height: int) -> None:
        left, top, wide, high, flags = struct.unpack("<HHHHB", self.take(9))
        if left + wide > width or top + high > height or not wide or not high:
            raise ValueError("a frame reaches outside the picture")
        if flags & 0x80:
            self.take(3 << ((flags & 7) + 1))
        self.take(1)
        self.sub_blocks()
        self.delays.append(self.delay)
        self.parts.append((self.control, position, self.file.tell()))
        self.delay, self.control = 0, -1
        if len(self.delays) > LIMITS.max_frames_in_folder or len(self.delays) * width * height > _MAX_DECODED_PIXELS:
            raise ValueError("too many frames")


def walk_gif(file: BinaryIO, path: str | os.PathLike[str]) -> GifBlocks:
    """Walks the blocks without decoding a pixel.

    Raises:
        MediaError: cut, damaged, without frames, too small, too large or too long.
    """
    walker = _Walker(file)
    file.seek(0)
    try:
        width, height, flags = struct.unpack("<6xHHBxx", walker.take(13))
        check_size(width, height, LIMITS.max_video_pixels, shown(path))
        if flags & 0x80:
            walker.take(3 << ((flags & 7) + 1))
        while (mark := walker.take(1)[0]) != 0x3B:
            position = file.tell() - 1
            if mark == 0x21:
                walker.extension(position)
            elif mark == 0x2C:
                walker.image(position, width, height)
            else:
                raise ValueError(f"an unknown block {mark:#04x}")
    except EOFError:
        raise MediaError(f"{shown(path)} is cut: the end mark of the GIF is missing", "a whole GIF") from None
    except ValueError as error:
        raise MediaError(f"{shown(path)} is no usable GIF: {error}", "a whole GIF") from None
    if not walker.delays:
        raise MediaError(f"{shown(path)} holds no frame", "a GIF with at least one frame")
    return GifBlocks(width, height, tuple(walker.delays), tuple(walker.parts), tuple(walker.comments))


def gif_info(path: str | os.PathLike[str]) -> ClipInfo:
    """Facts about a GIF from its blocks.

    Raises:
        MediaError: as `walk_gif`.
    """
    with open_regular(path) as file, media_errors(path):
        blocks = walk_gif(file, path)
    delays = _shown_delays(blocks)
    return ClipInfo(
        "gif",
        blocks.width,
        blocks.height,
        fps=gif_rate(delays),
        frame_count=len(delays),
        duration_s=sum(delays) / 100,
        variable_rate=max(delays) - min(delays) > 1,
        container="gif",
    )


def gif_rate(delays: tuple[int, ...]) -> Fraction:
    """Frames per second: exact when all delays agree, else the most usual rate that rounds to the same length."""
    if min(delays) == max(delays):
        return Fraction(100, delays[0])
    total = sum(delays)
    low, high = Fraction(200 * len(delays), 2 * total + 1), Fraction(200 * len(delays), 2 * total - 1)
    return next((rate for rate in _USUAL_RATES if low <= rate <= high), None) or _simplest(low, high)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    whole = low.numerator // low.denominator
    if whole == low or whole + 1 <= high:
        return Fraction(whole if whole == low else whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _shown_delays(blocks: GifBlocks) -> tuple[int, ...]:
    return tuple(delay or _NO_DELAY_CS for delay in blocks.delays)


def read_gif(path: str | os.PathLike[str]) -> Generator[Frame, None, None]:
    """Frames of a GIF, one at a time; a delay of 0 counts as a tenth of a second, as browsers do.

    Raises:
        MediaError: as `walk_gif`, or a frame does not decode.
    """
    with open_regular(path) as file, media_errors(path):
        if sniff(file, path) != "gif":
            raise MediaError(f"{shown(path)} is no GIF", "a GIF")
        blocks = walk_gif(file, path)
        delays = _shown_delays(blocks)
        file.seek(0)
        hundredths, rate = 0, gif_rate(delays)
        with Image.open(file, formats=["GIF"]) as image:
            for index, delay in enumerate(delays):
                image.seek(index)
                pixels = upright(image)
                if pixels.shape[:2] != (blocks.height, blocks.width):
                    raise MediaError(f"frame {index} of {shown(path)} has another size", "frames of one size")
                yield Frame(pixels, index, snap(Fraction(hundredths, 100), index, rate, _TICK))
                hundredths += delay
