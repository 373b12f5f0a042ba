"""Walks the elements of a webm or mkv, so that a cut or torn file is seen before anything is decoded."""

from __future__ import annotations

import os
from typing import BinaryIO

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.safe_file import shown

_EBML, _SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
_ENTERED = frozenset((_SEGMENT, _CLUSTER, _BLOCK_GROUP))
_MAX_ELEMENTS = 10_000_000


def check_webm(file: BinaryIO, size: int, path: str | os.PathLike[str]) -> None:
    """Checks that the elements down to the blocks fill the file exactly.

    The demuxer itself skips what it does not understand, and so would shorten a damaged clip without a word. A live
    recording states no size for its segment; of that, only a half last element shows.

    Raises:
        MediaError: cut or damaged.
    """
    try:
        _walk(file, size)
    except ValueError as error:
        raise MediaError(f"{shown(path)} is cut or damaged: {error}", "a whole webm or mkv") from None


def _walk(file: BinaryIO, size: int) -> None:
    position, found, ends = 0, False, [size]
    for number in range(_MAX_ELEMENTS):
        while len(ends) > 1 and position == ends[-1]:
            ends.pop()
        if position == size:
            break
        file.seek(position)
        name, _ = _number(file, 4, keep_marker=True)
        length, unknown = _number(file, 8)
        body = file.tell()
        if (number == 0) != (name == _EBML):
            raise ValueError("it does not begin with one EBML header")
        if unknown and name not in (_SEGMENT, _CLUSTER):
            raise ValueError("an element has no length")
        end = ends[-1] if unknown else body + length
        if end > ends[-1]:
            raise ValueError(f"an element reaches {end - ends[-1]} bytes too far")
        found = found or name == _SEGMENT
        if name in _ENTERED and not unknown:
            ends.append(end)
        position = body if name in _ENTERED else end
    else:
        raise ValueError("it has too many elements")
    if not found:
        raise ValueError("it has no segment")


def _number(file: BinaryIO, longest: int, keep_marker: bool = False) -> tuple[int, bool]:
    """A variable-length number and whether all its bits are set, which means "unknown"."""
    first = file.read(1)
    width = 9 - first[0].bit_length() if first else 9
    if width > longest:
        raise ValueError("an element's head is damaged or cut")
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        raise ValueError("its last element is cut")
    marked = int.from_bytes(first + rest, "big")
    bits = 7 * width
    value = marked & ((1 << bits) - 1)
    return (marked if keep_marker else value), value == (1 << bits) - 1
