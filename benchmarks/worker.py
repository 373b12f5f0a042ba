"""One variant in a process of its own: opens it, then draws batches of frames when it is asked to.

Asked by lines of JSON on standard input, answers by lines of JSON; between questions it is stopped (`rounds.py`).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

_PR_SET_PDEATHSIG = 1


@dataclass
class Ready:
    """An opened variant.

    Attributes:
        call: draws one frame. frame: makes what `call` is handed, by number, untimed.
        facts: what opening it said. settled: called once after the first warm-up.
        peak_mb: most memory beyond what was held before it was opened.
    """

    call: Callable[[Any], object]
    frame: Callable[[int], Any]
    facts: dict[str, Any] = field(default_factory=dict)
    settled: Callable[[], None] = lambda: None
    peak_mb: Callable[[], float] = lambda: 0.0


class Others:
    """How many cores other work keeps busy meanwhile, with what the host takes away; 0 where /proc has no word."""

    def __enter__(self) -> Others:
        self._start = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        wall, busy, own = (b - a for a, b in zip(self._start, self._now()))
        self.cores = max(0.0, (busy - own) / wall)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        own = os.times()
        try:
            words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return time.perf_counter(), 0.0, 0.0
        user, nice, system, _idle, _waiting, interrupt, soft, steal = map(int, words)
        busy = (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, own.user + own.system


def serve(open_variant: Callable[[], Ready]) -> None:
    """Open the variant, say so, and answer questions until there are none."""
    answers = _answers()
    try:
        ready = open_variant()
    except Exception as error:  # a rival may raise anything; the others go on
        _say(answers, {"failed": f"{type(error).__name__}: {error}"[:400]})
        return
    _say(answers, ready.facts)
    numbers = _count()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            _say(answers, _TASKS[question.pop("task")](ready, numbers, **question))
        except Exception as error:  # as above
            _say(answers, {"failed": f"{type(error).__name__}: {error}"[:400]})


def batch(ready: Ready, numbers: Iterator[int], warmup_s: float, seconds: float, at_least: int) -> dict[str, Any]:
    """Milliseconds of the frames of one batch, after the warm-up, and what else was busy."""
    _draw(ready, numbers, warmup_s, 1)
    ready.settled()
    with Others() as others:
        times = _draw(ready, numbers, seconds, at_least)
    return {"times_ms": [round(ms, 4) for ms in times], "others": round(others.cores, 4)}


def latency(ready: Ready, numbers: Iterator[int], frames: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of at most `frames` frames, each drawn once, in at most about `seconds`; memory behind them."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    with Others() as others:
        while len(times) < frames and time.perf_counter() < end:
            times += _draw(ready, numbers, 0.0, 1)
    return {"times_ms": [round(ms, 4) for ms in times], "others": round(others.cores, 4), "peak_mb": ready.peak_mb()}


_TASKS: dict[str, Callable[..., dict[str, Any]]] = {"batch": batch, "latency": latency}


def _draw(ready: Ready, numbers: Iterator[int], seconds: float, at_least: int) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        frame = ready.frame(next(numbers))
        start = time.perf_counter()
        ready.call(frame)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def _answers() -> TextIO:
    """The pipe to the parent. Libraries print: what they say goes to standard error, the log."""
    if sys.platform == "linux":
        # A stopped process would outlive a parent that was killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def to_and_fro(number: int, count: int) -> int:
    """Place `number` in a clip of `count` frames that is played to and fro, so that motion never jumps."""
    period = max(2 * (count - 1), 1)
    place = number % period
    return min(place, period - place) if count > 1 else 0


def peak_mb() -> float:
    """Most memory that this process has held, in MB of 2**20 bytes; 0 where /proc has no word."""
    return _memory_mb("VmHWM")


def held_mb() -> float:
    """Memory that this process holds now, in MB of 2**20 bytes; 0 where /proc has no word."""
    return _memory_mb("VmRSS")


def _memory_mb(word: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(word)), 0.0)


def pin_busiest(threads: int) -> None:
    """The busiest threads of this process on a processor each: for runtimes that do not pin their own."""
    allowed = sorted(os.sched_getaffinity(0))[:threads]
    worked = {}
    for task in Path("/proc/self/task").iterdir():
        words = (task / "stat").read_text().rsplit(")", 1)[1].split()
        worked[int(task.name)] = int(words[11]) + int(words[12])
    for thread, processor in zip(sorted(worked, key=worked.__getitem__, reverse=True), allowed):
        os.sched_setaffinity(thread, {processor})


def main() -> None:
    """Serve the variant that the command line names."""
    from variants import open_variant

    request = json.loads(sys.argv[1])
    serve(lambda: open_variant(request))


if __name__ == "__main__":
    main()
