"""Rounds of variants in processes of their own, called in turn; what was measured beside other work is thrown away."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import Timing

MAX_OTHERS = 0.05
"""A batch counts if other work kept less than this share of one core busy."""

_TRIES = 3


@dataclass(frozen=True)
class Pace:
    """How long a batch is."""

    warmup_s: float = 1.0
    seconds: float = 1.2
    at_least: int = 3


@dataclass
class Batch:
    """One variant's batch in one round: all frames, and whether the machine was quiet."""

    times_ms: list[float]
    others: float

    @property
    def quiet(self) -> bool:
        """Nothing else of weight ran."""
        return self.others <= MAX_OTHERS

    @property
    def median(self) -> float:
        """Of the frames, milliseconds."""
        return statistics.median(self.times_ms)


@dataclass
class Tally:
    """All batches of one variant: `kept` by round, and how many were thrown away."""

    kept: dict[int, Batch] = field(default_factory=dict)
    noisy: dict[int, Batch] = field(default_factory=dict)
    thrown: int = 0

    def batches(self) -> dict[int, Batch]:
        """What counts: the quiet ones, or all if there is no quiet one."""
        return self.kept or self.noisy


class Contestant:
    """A worker's process. It is stopped except while it answers, so that nothing spins.

    Args:
        name: of the variant. command, environment: of its process. log: where its standard error goes.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._rest = b""

    def ready(self, timeout_s: float) -> dict[str, Any]:
        """Wait until the variant is open; what it says about itself, or {"failed": why}."""
        return self._answer(timeout_s)

    def ask(self, timeout_s: float, **question: Any) -> dict[str, Any]:
        """Wake it, ask, and stop it again; {"failed": why} if it does not answer."""
        if self._process.poll() is not None or self._process.stdin is None:
            return {"failed": self._last_words()}
        os.killpg(self._process.pid, signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer(timeout_s)

    def close(self) -> None:
        """End it; also if it is stopped."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        out = self._process.stdout.fileno()  # type: ignore[union-attr]
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                self.close()
                return {"failed": f"no answer within {timeout_s:.0f} s"}
            block = os.read(out, 1 << 16)
            if not block:
                return {"failed": self._last_words()}
            self._rest += block
        line, self._rest = self._rest.split(b"\n", 1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGSTOP)
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        # Its end of the pipe closes before Python has said why it ends.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"its process ended: {lines[-1][:300] if lines else 'without a word'}"


def play(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int,
    end: float,
    pace: Pace,
    after_round: Callable[[dict[str, Tally], dict[str, str]], None] = lambda tallies, failed: None,
) -> tuple[dict[str, Tally], dict[str, str]]:
    """Ask all contestants for a batch, round after round, until `rounds` are over or it is `end` (monotonic clock).

    Returns:
        What each one did, and why those that failed did.
    """
    tallies = {name: Tally() for name in contestants}
    failed: dict[str, str] = {}
    slowest = 0.0
    for number in range(rounds):
        began = time.monotonic()
        # A round that is not finished makes no ratios.
        if number and began + slowest > end:
            break
        for name, contestant in contestants.items():
            if name not in failed:
                why = _one(contestant, tallies[name], number, pace)
                failed |= {name: why} if why else {}
        slowest = max(slowest, time.monotonic() - began)
        after_round(tallies, failed)
    return tallies, failed


def _one(contestant: Contestant, tally: Tally, number: int, pace: Pace) -> str:
    for _ in range(_TRIES):
        found = contestant.ask(120.0, task="batch", **vars(pace))
        if "failed" in found:
            return str(found["failed"])
        batch = Batch(found["times_ms"], found["others"])
        if batch.quiet:
            tally.kept[number] = batch
            return ""
        tally.thrown += 1
        kept = tally.noisy.get(number)
        if kept is None or batch.others < kept.others:
            tally.noisy[number] = batch
    return ""


def summary(tallies: Mapping[str, Tally], yardstick: str) -> dict[str, dict[str, Any]]:
    """Figures of each variant; ratios above 1 say that it is faster than the yardstick, round by round."""
    rows = {}
    base = tallies[yardstick].batches() if yardstick in tallies else {}
    for name, tally in tallies.items():
        batches = tally.batches()
        if not batches:
            continue
        medians = [batch.median for batch in batches.values()]
        ratios = [base[n].median / batch.median for n, batch in batches.items() if n in base]
        rows[name] = {
            **{f"{key}_ms": round(value, 3) for key, value in vars(timing(medians)).items()},
            "best_ms": round(min(min(batch.times_ms) for batch in batches.values()), 3),
            "batches": len(batches),
            "thrown": tally.thrown,
            "quiet": bool(tally.kept),
            "ratio": round(statistics.median(ratios), 3) if ratios else None,
            "ratio_lo_hi": [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None,
        }
    return rows


def timing(medians: Sequence[float]) -> Timing:
    """Percentiles of the batches' medians."""
    return Timing(*(float(value) for value in np.percentile(medians, (20, 50, 80))))
