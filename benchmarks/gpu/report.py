"""The results file: written aside and renamed at every step, so that whoever is killed leaves what was known."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any


def write_aside(path: Path, value: Any) -> None:
    """Write `value` as JSON under another name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.part")
    # Errors have infinities and NaN in them, which JSON has not.
    aside.write_text(json.dumps(plain(value), indent=1, allow_nan=False) + "\n")
    os.replace(aside, path)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: four digits of a number are enough, and what is no number is a word."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        finite = value == value and abs(value) != float("inf")
        return float(f"{value:.5g}") if finite else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def slug(device: str) -> str:
    """A device's name as part of a file's: "nvidia-rtx-4090"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "unknown"


class Report:
    """What one stage has found so far; every `put` is on disk when it returns.

    Attributes:
        found: the stage's figures.
        faults: why it has not passed; none: it has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        self.faults: list[str] = []
        self._write(finished=False)

    def put(self, **found: Any) -> None:
        """Add figures."""
        self.found.update(found)
        self._write(finished=False)

    def fault(self, *reasons: str) -> None:
        """Add reasons why the stage has not passed."""
        self.faults += reasons
        self._write(finished=False)

    def finish(self) -> None:
        """The stage has come to its end."""
        self._write(finished=True)

    def _write(self, finished: bool) -> None:
        write_aside(self.path, {"finished": finished, "faults": self.faults, "found": self.found})


def outcome(path: Path, code: int | None, seconds: float, words: str) -> dict[str, Any]:
    """A stage's row from what its process left: code None means that it was stopped for time."""
    left = _left(path)
    faults = list(left["faults"])
    if code is None:
        faults.append(f"stopped after {seconds:.0f} s")
    elif code != 0 or not left["finished"]:
        faults.append(f"its process ended with {code}: {words[-1500:]}")
    return {"status": "failed" if faults else "passed", "seconds": seconds, "faults": faults, **left["found"]}


def running(path: Path, seconds: float) -> dict[str, Any]:
    """The row of a stage that has not ended."""
    left = _left(path)
    return {"status": "running", "seconds": seconds, "faults": left["faults"], **left["found"]}


def _left(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {"finished": False, "faults": [], "found": {}}
