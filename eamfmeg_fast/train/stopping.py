"""When a run ends early: the clock, Ctrl-C or SIGTERM, each after the step that is under way."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self


class Stop:
    """Watches the clock and the signals SIGINT and SIGTERM while it is entered; a second signal interrupts at once.

    Args:
        minutes: that the run may take; 0 is no bound.

    Attributes:
        told: a signal came.
    """

    def __init__(self, minutes: float) -> None:
        self.deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self.told = False
        self._before: dict[int, Any] = {}

    @property
    def due(self) -> bool:
        """Whether the run shall end now."""
        return self.told or time.monotonic() > self.deadline

    def __enter__(self) -> Self:
        # Python hands signals to the main thread alone.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        if self.told:
            raise KeyboardInterrupt
        self.told = True
