"""Walks the boxes of an mp4 or mov, so that no size or count is believed that the file cannot hold."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.safe_file import shown

_MAX_BOXES = 500_000
_MAX_SAMPLES = 4_000_000
_MAX_DEPTH = 8
_FOLDERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"dinf"))
_TABLES = frozenset((b"stsz", b"stz2", b"stts", b"trun"))


class _Walk:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.boxes = self.samples = 0
        self.pcm = False
        self.names: set[bytes] = set()

    def level(self, begin: int, end: int, depth: int) -> None:
        position = begin
        while position + 8 <= end:
            self.boxes += 1
            if self.boxes > _MAX_BOXES or depth > _MAX_DEPTH:
                raise ValueError("it has too many boxes")
            length, head, name = self.box(position, end)
            if position + length > end:
                raise ValueError(f"one of its boxes reaches {position + length - end} bytes too far")
            if name == b"cmov":
                raise ValueError("its header is compressed")
            if name in _FOLDERS:
                self.names.add(name)
                self.level(position + head, position + length, depth + 1)
            elif name in _TABLES:
                self.table(name, position + head, length - head)
            position += length
        if depth == 0 and position < end:
            raise ValueError("its last box is cut")

    def box(self, position: int, end: int) -> tuple[int, int, bytes]:
        self.file.seek(position)
        length, name = struct.unpack(">I4s", self.file.read(8))
        if length == 0:
            return end - position, 8, name
        if length == 1:
            wide = self.file.read(8)
            length = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 0
            return max(length, 16), 16, name
        if length < 8:
            raise ValueError("a box is shorter than its own header")
        return length, 8, name

    def table(self, name: bytes, position: int, length: int) -> None:
        self.file.seek(position)
        head = self.file.read(min(length, 16)).ljust(16, b"\0")
        words = struct.unpack(">IIII", head)
        if name == b"stts":
            # One entry of one tick per sample: plain PCM, which is indexed by chunk and may have any number of samples.
            self.pcm = words[1] == 1 and words[3] == 1
            return
        if name == b"stsz" and words[1] and self.pcm:
            if words[1] * words[2] > self.size:
                raise ValueError("it states more sound than it holds")
            return
        self.samples += words[1] if name == b"trun" else words[2]
        if self.samples > _MAX_SAMPLES:
            raise ValueError(f"it states more than {_MAX_SAMPLES} samples")


def check_mp4(file: BinaryIO, size: int, path: str | os.PathLike[str]) -> None:
    """Checks every box against the file's length and every sample count against what is sensible.

    Raises:
        MediaError: cut, damaged, without a header, or a bomb.
    """
    walk = _Walk(file, size)
    try:
        walk.level(0, size, 0)
    except (ValueError, struct.error) as error:
        reason = "its header is damaged" if isinstance(error, struct.error) else str(error)
        raise MediaError(f"{shown(path)} is cut or damaged: {reason}", "a whole mp4 or mov") from None
    if b"moov" not in walk.names:
        raise MediaError(f"{shown(path)} has no header (moov): its recording was never finished", "a whole mp4 or mov")
    if b"trak" not in walk.names:
        raise MediaError(f"{shown(path)} holds no track", "a video")
