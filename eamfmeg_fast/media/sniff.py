"""Tells what a file is from its first bytes; its name counts for nothing."""

from __future__ import annotations

import os
from typing import BinaryIO

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.safe_file import shown

_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
PICTURES = ("png", "jpeg", "bmp")
VIDEOS = ("mp4", "webm")


def sniff(file: BinaryIO, path: str | os.PathLike[str]) -> str:
    """ "mp4", "webm", "gif", "png", "jpeg" or "bmp"; the file is left at its beginning.

    Raises:
        MediaError: empty, a text (a playlist, say), or nothing that is read here.
    """
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    if head[4:8] in _MP4_FIRST_BOXES:
        return "mp4"
    for magic, kind in (
        (b"\x1aE\xdf\xa3", "webm"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"BM", "bmp"),
    ):
        if head.startswith(magic):
            return kind
    what = "is empty" if not head else "is a text, not a picture or video" if _is_text(head) else "is of no known kind"
    raise MediaError(f"{shown(path)} {what}", "mp4, mov, webm, mkv, gif, png, jpeg or bmp")


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head.removeprefix(b"\xef\xbb\xbf"))
