"""The fingerprint of csrc/ that a compiled library carries. Standard library only: setup.py runs this file by path."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUFFIXES = (".cpp", ".cu", ".cuh", ".h")


def source_hash(csrc: Path) -> str:
    """First 16 hex digits of the sha256 over names and bytes of all C++ and CUDA files under `csrc`."""
    digest = hashlib.sha256()
    files = {path.relative_to(csrc).as_posix(): path for path in csrc.rglob("*") if path.suffix in SUFFIXES}
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return digest.hexdigest()[:16]
