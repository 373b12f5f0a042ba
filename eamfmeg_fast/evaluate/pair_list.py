"""Which driving clip is scored on which target: named one by one, or by a list in a file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown

_MAX_PAIRS = 10_000
_EXPECTED = "1 to 10000 pairs, each with driving, target and maybe output"


@dataclass(frozen=True)
class Pair:
    """What is scored: a driving clip, a target picture, and the clip that another system made of them, if any."""

    driving: Path
    target: Path
    output: Path | None = None

    @property
    def name(self) -> str:
        """As outputs are named: `<target>__<driving>`."""
        return f"{self.target.stem}__{self.driving.stem}"


def every_pair(drivings: list[Path], targets: list[Path], outputs: list[Path]) -> list[Pair]:
    """Every driving clip on every target, target by target.

    Args:
        outputs: clips to be scored instead of drawing, one for each pair in that order; or none.

    Raises:
        OptionError: nothing to do, or another number of outputs.
    """
    pairs = [Pair(driving, target) for target in targets for driving in drivings]
    if not pairs:
        raise OptionError("no driving clip or no target", "--driving and --target, or a list of pairs")
    if outputs and len(outputs) != len(pairs):
        raise OptionError(f"{len(outputs)} clips to compare for {len(pairs)} pairs", "one for each pair")
    return [Pair(pair.driving, pair.target, output) for pair, output in zip(pairs, outputs)] or pairs


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a CSV file with a head line, or of a JSON list of objects; names are looked up beside the file.

    Args:
        path: columns or keys driving and target, and output where there is a clip to be scored as it is.

    Raises:
        MediaError: it cannot be read. OptionError: it means nothing.
    """
    with open_regular(path) as file, media_errors(path):
        data = file.read(LIMITS.max_header_bytes + 1)
        if len(data) > LIMITS.max_header_bytes:
            raise MediaError(f"{shown(path)} is too large", f"at most {LIMITS.max_header_bytes} bytes")
        text = data.decode("utf-8-sig")
        rows: Any = json.loads(text) if path.suffix.lower() == ".json" else _table(text)
    if not isinstance(rows, list) or not 0 < len(rows) <= _MAX_PAIRS:
        raise OptionError(f"{shown(path)} is no list of pairs", _EXPECTED)
    return [_pair(row, path, number) for number, row in enumerate(rows, 1)]


def _table(text: str) -> list[dict[str, str]]:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    head = [name.strip().lower() for name in rows[0]] if rows else []
    return [dict(zip(head, (cell.strip() for cell in row))) for row in rows[1:] if any(map(str.strip, row))]


def _pair(row: Any, path: Path, number: int) -> Pair:
    names = [row.get(word) or "" for word in ("driving", "target", "output")] if isinstance(row, dict) else [""]
    if not all(isinstance(name, str) and "\0" not in name for name in names) or "" in names[:2]:
        raise OptionError(f"{shown(path)}, pair {number} has no driving clip or no target", _EXPECTED)
    driving, target, output = (path.parent / name if name else None for name in names)
    return Pair(Path(driving or ""), Path(target or ""), output)
