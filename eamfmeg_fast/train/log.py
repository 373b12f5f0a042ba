"""What a run writes down: JSON lines always, TensorBoard events where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Log:
    """Writes `log.jsonl` (one object a step) and TensorBoard events into the run's folder.

    Args:
        folder: of the run. note: a sentence on the first line.
        start: the step that the run starts or goes on at; what an earlier try logged from there on is dropped.
    """

    def __init__(self, folder: Path, note: str, start: int = 0) -> None:
        self.folder, self.note, self.start = folder, note, start
        self._events: Any = None

    def __enter__(self) -> Self:
        path = self.folder / "log.jsonl"
        kept = [json.dumps({"note": self.note})]
        if path.exists():
            rows = path.read_text(encoding="utf8").splitlines()[1:]
            kept += [row for row in rows if row.endswith("}") and json.loads(row)["step"] < self.start]
        self._lines = path.open("w", encoding="utf8")
        self._lines.write("\n".join(kept) + "\n")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return self
        self._events = SummaryWriter(str(self.folder), purge_step=self.start)
        self._events.add_text("note", self.note)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Note the losses of one step."""
        row = {"step": step} | {k: float(f"{v:.5g}") for k, v in values.items()}
        self._lines.write(json.dumps(row) + "\n")
        self._lines.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()
