"""The stages in their order, and the process of one of them: `python -m gpu.stages NAME RESULT SECONDS SO_FAR`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu.report import Report


@dataclass(frozen=True)
class Stage:
    """One stage of the run.

    Attributes:
        most_s: its share of the time.
        least_s: what is kept for it when stages before it take long.
        beside: it times nothing, and runs beside the stage before it where there are processors for both.
    """

    name: str
    most_s: float
    least_s: float
    beside: bool = False


# What is known first is worth most: errors, then speeds, then what other machines can test as well.
STAGES = (
    Stage("device", 30, 15),
    Stage("accuracy", 110, 40),
    Stage("roofline", 30, 15),
    Stage("engine", 150, 60),
    Stage("operators", 180, 60),
    Stage("mutants", 150, 50),
    Stage("tests", 120, 40, beside=True),
    Stage("sanitizer", 120, 45, beside=True),
    Stage("rest", 90, 25, beside=True),
)


def _run(name: str) -> Callable[..., None]:
    # Each process imports what its own stage needs.
    if name == "device":
        from gpu.device import device as run
    elif name in ("accuracy", "mutants"):
        from gpu import checks

        run = getattr(checks, name)
    elif name in ("tests", "rest"):
        from gpu import pytests

        run = getattr(pytests, name)
    elif name == "roofline":
        from gpu.roofline import roofline as run
    elif name == "engine":
        from gpu.frames import engine_stage as run
    elif name == "operators":
        from gpu.speed import operators_stage as run
    else:
        from gpu.sanitizer import sanitizer as run
    return run


def main() -> None:
    """Run one stage in this process."""
    from gpu.machine import here

    name, path, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    report = Report(path)
    _run(name)(report, here(), time.monotonic() + seconds)
    report.finish()


if __name__ == "__main__":
    main()
