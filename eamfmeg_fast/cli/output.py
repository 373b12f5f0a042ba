"""What commands print: JSON for machines on stdout, a progress bar for people on stderr."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_PATIENCE_S = 1.0


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    from eamfmeg_fast.provenance import plain

    typer.echo(json.dumps(plain(value), indent=2))


class Bar:
    """A progress bar on stderr that shows up after a second, and only on a terminal.

    Args:
        unit: what is counted, "frames". total: how many, if known.
    """

    def __init__(self, unit: str, total: int | None = None) -> None:
        self.unit, self.total, self.done, self.label = unit, total, 0, ""
        self._console = Console(stderr=True)
        self._begin = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def restart(self, total: int | None, label: str) -> None:
        """Count something else from 0 on."""
        self.total, self.done, self.label = total, 0, label
        self._show()

    def step(self, *_: object) -> None:
        """One more is done; takes and ignores whatever a callback hands over."""
        self.done += 1
        self._show()

    def reach(self, done: int, total: int, *_: object) -> None:
        """`done` of `total` are done; takes and ignores whatever else a callback hands over."""
        self.done, self.total = done, total
        self._show()

    def _show(self) -> None:
        if self._progress is None:
            if not self._console.is_terminal or time.monotonic() - self._begin < _PATIENCE_S:
                return
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task(self.unit, total=self.total)
            self._progress.start()
        if self._task is not None:
            text = f"{self.label} {self.unit}".strip()
            self._progress.update(self._task, completed=self.done, total=self.total, description=text)
