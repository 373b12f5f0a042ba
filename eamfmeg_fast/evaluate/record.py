"""Rows of a results file: what was measured, on which commit, weights and kind of machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import eamfmeg_fast
from eamfmeg_fast.media.safe_file import media_errors, require_regular


def commit() -> str:
    """Of the checkout that the package runs from, with "+" where files differ from it; its version without one."""
    # A package installed below somebody's checkout is not of that checkout.
    head = _git("rev-parse", "--short", "HEAD") if _git("ls-files", "__init__.py") else ""
    changed = head and _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}{'+' if changed else ''}" if head else f"v{eamfmeg_fast.__version__}"


def machine_class() -> str:
    """The processor's name and the number of cores that this process may use, "AMD EPYC 25/17, 2 cores"."""
    words: dict[str, str] = {}
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf8").split("\n\n", 1)[0]
    except OSError:
        first = ""
    for line in first.splitlines():
        key, _, value = line.partition(":")
        words[key.strip()] = value.strip()
    name = words.get("model name") or platform.processor() or platform.machine()
    family = f" {words['cpu family']}/{words['model']}" if {"cpu family", "model"} <= words.keys() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}{family}, {cores} cores"


def circumstances() -> dict[str, str]:
    """Date, commit and machine: to be asked before a measurement, since a checkout may move on meanwhile."""
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "machine": machine_class()}


def check_place(path: Path) -> None:
    """Refuse before any work a file of rows that could not be written after it; folders on the way are made.

    Raises:
        MediaError: no row can be added there.
    """
    with media_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.exists()
        if old:
            require_regular(path.stat().st_mode, path)
        path.open("a").close()
        if not old:
            path.unlink()


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add `row` to a file of JSON lines; numbers that are none are null.

    Raises:
        MediaError: that is not possible.
    """
    check_place(path)
    with media_errors(path, "written"), path.open("a", encoding="utf8") as file:
        file.write(json.dumps(tidy(row)) + "\n")


def tidy(value: Any) -> Any:
    """`value` with numbers of five digits, and None for those that are none: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: tidy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [tidy(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) < float("inf") else None
    return value


def _git(*words: str) -> str:
    try:
        run = subprocess.run(
            ["git", *words], cwd=Path(eamfmeg_fast.__file__).parent, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
