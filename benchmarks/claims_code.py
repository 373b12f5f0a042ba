"""Which code the runs of benchmarks/claims.py are made of: other code, another state folder, so that rows never mix."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
_TRAIN = "eamfmeg_fast/train"
PICTURES = (
    "eamfmeg_fast/lab/**/*.py",
    *(f"{_TRAIN}/{name}.py" for name in ("feed", "options", "pictures", "spots", "transform")),
    "kernels/geometry.py",
    "kernels/warp_occlude/reference.py",
)
"""What the batches are drawn by."""
RUNS = (
    *PICTURES,
    *(f"{_TRAIN}/{name}.py" for name in ("losses", "objective", "perceptual", "teaching")),
    *(f"eamfmeg_fast/{room}/**/*.py" for room in ("network", "evaluate", "driving", "retargeter")),
    "eamfmeg_fast/config.py",
    "kernels/*/reference.py",
    "benchmarks/claims.py",
)
"""What a row depends on. The engine is not among it: other tests hold it to the network's arithmetic."""


def digest(text: str) -> str:
    """A short name for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def version(patterns: Sequence[str], root: Path = ROOT) -> str:
    """A hash of the names and contents of the files that `patterns` name below `root`.

    Raises:
        ValueError: a pattern that names none.
    """
    found: set[Path] = set()
    for pattern in patterns:
        files = set(root.glob(pattern))
        if not files:
            raise ValueError(f"{pattern} names no file")
        found |= files
    names = sorted(path.relative_to(root).as_posix() for path in found)
    return digest("\0".join(f"{name}\0{(root / name).read_text(encoding='utf8')}" for name in names))
