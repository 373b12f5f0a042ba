"""What a run writes down: JSON lines always, TensorBoard events where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_POINTS = 100
"""Of the curves in the summary."""


class Log:
    """Writes `log.jsonl` and TensorBoard events into the run's folder.

    The first line has a note and the recipe, then comes one object a step, at the end one `summary`.

    Args:
        folder: of the run. note: a sentence on the first line. recipe: plain values, on the first line too.
        start: the step that the run starts or goes on at; what an earlier try logged from there on is dropped.
    """

    def __init__(self, folder: Path, note: str, start: int = 0, recipe: Mapping[str, Any] | None = None) -> None:
        self.folder, self.note, self.start, self.recipe = folder, note, start, recipe
        self._events: Any = None

    def __enter__(self) -> Self:
        path = self.folder / "log.jsonl"
        first: dict[str, Any] = {"note": self.note} | ({"recipe": dict(self.recipe)} if self.recipe else {})
        kept = [json.dumps(row) for row in _steps(path) if row["step"] < self.start]
        self._lines = path.open("w", encoding="utf8")
        self._lines.write("\n".join([json.dumps(first), *kept]) + "\n")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return self
        self._events = SummaryWriter(str(self.folder), purge_step=self.start)
        self._events.add_text("note", self.note)
        return self

    def write(self, step: int, values: dict[str, float], speed: dict[str, float] | None = None) -> None:
        """Note the losses of one step, and what else there is to say of it."""
        values = values | (speed or {})
        self._put({"step": step} | {k: float(f"{v:.5g}") for k, v in values.items()})
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def summarise(self, facts: Mapping[str, Any]) -> None:
        """End with one line that a figure can be drawn from: `facts` and, as `curve`, means over stretches of steps.

        A curve is a dict of lists of the same length, `step` the middle of each stretch; a loss that was not there yet
        is null.
        """
        self._put({"summary": dict(facts) | {"curve": curve(list(_steps(self.folder / "log.jsonl")))}})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()

    def _put(self, row: dict[str, Any]) -> None:
        self._lines.write(json.dumps(row) + "\n")
        self._lines.flush()


def curve(rows: list[dict[str, float]], points: int = _POINTS) -> dict[str, list[float | None]]:
    """Means of every value over at most `points` stretches of steps."""
    if not rows:
        return {}
    length = -(-len(rows) // points)
    stretches = [rows[i : i + length] for i in range(0, len(rows), length)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out: dict[str, list[float | None]] = {}
    for name in names:
        found = [[row[name] for row in stretch if name in row] for stretch in stretches]
        out[name] = [float(f"{sum(values) / len(values):.5g}") if values else None for values in found]
    return out


def _steps(path: Path) -> list[dict[str, float]]:
    """The rows of steps; what a dying process left half written is no row."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf8").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith('{"step"') and line.endswith("}")]
    return [row for row in rows if isinstance(row, dict)]
