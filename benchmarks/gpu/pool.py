"""Runs jobs in child processes. A kernel that corrupts the device or never ends costs its own job, not the run."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

Job = dict[str, Any]
WORKERS = "EAMFMEG_GPU_WORKERS"
_JOB_S = 60.0
_WORKER = "gpu.worker"


class _Child:
    """One worker process: a job in as a line, its result out as a line."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._words = tempfile.TemporaryFile("w+", errors="replace")
        command = [sys.executable, "-P", "-m", _WORKER]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, text=True
        )

    def ask(self, job: Job, seconds: float) -> dict[str, Any]:
        """The result of `job`, {"error": ...} where there is none."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            self._send(json.dumps(job))
            line = self._process.stdout.readline() if self._process.stdout else ""
        except OSError:
            line = ""
        finally:
            timed_out = not timer.is_alive()
            timer.cancel()
        # Whoever is ended while writing leaves half a line.
        if line.endswith("\n"):
            result = dict(json.loads(line))
            if result.pop("broken", False):
                self._process.wait()
            return result
        self._process.wait()
        return {"error": f"stopped after {seconds:.0f} s" if timed_out else f"its process died: {self._last_words()}"}

    def _send(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _last_words(self) -> str:
        self._words.seek(0)
        return self._words.read()[-600:]

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._words):
            if pipe:
                pipe.close()


def run_jobs(
    jobs: Sequence[Job],
    deadline: float,
    each: Callable[[Job, dict[str, Any]], None],
    processes: int | None = None,
    job_s: float = _JOB_S,
) -> None:
    """Run all jobs; `each(job, result)` is called as they end, one at a time.

    Args:
        jobs: read by gpu/worker.py. The first are begun first.
        deadline: of `time.monotonic()`; jobs that have not ended by then have {"error": ...} as result.
        processes: as many at a time; by default what gpu/run.py says that the machine bears.
        job_s: longest time of one job.

    Raises:
        RuntimeError: a job has no result.
    """
    waiting: queue.Queue[Job] = queue.Queue()
    for job in jobs:
        waiting.put(job)
    lock, count = threading.Lock(), min(processes or int(os.environ.get(WORKERS, "1")), len(jobs))

    told: list[Job] = []

    def tell(job: Job, result: dict[str, Any]) -> None:
        with lock:
            each(job, result)
            told.append(job)

    arguments = (waiting, _environment(count), deadline, job_s, tell)
    threads = [threading.Thread(target=_work, args=arguments) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(told) != len(jobs):
        raise RuntimeError(f"{len(jobs) - len(told)} of {len(jobs)} jobs were lost")


def _environment(count: int) -> dict[str, str]:
    """Of one of `count` workers. Inductor's own pool of compilers in each of them would be one pool too many."""
    threads = max(1, (os.cpu_count() or 1) // max(1, count))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def _work(
    waiting: queue.Queue[Job],
    environment: dict[str, str],
    deadline: float,
    job_s: float,
    tell: Callable[[Job, dict[str, Any]], None],
) -> None:
    """Do what waits, with one child at a time."""
    child: _Child | None = None
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            tell(job, {"error": "not begun: out of time"})
            continue
        if child is None or not child.alive():
            child = _Child(environment)
        tell(job, child.ask(job, min(job_s, left)))
    if child:
        child.stop()
