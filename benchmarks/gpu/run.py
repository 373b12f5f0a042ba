"""`make gpu`: runs the stages one after the other and keeps what they find. Exit 0: every stage ran and passed.

1: a stage failed, was stopped, or was not begun for want of time; 3: not run on a CUDA device, which is no pass.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gpu.machine import ONLY, REHEARSAL
from gpu.pool import WORKERS
from gpu.report import outcome, running, slug, write_aside
from gpu.stages import STAGES, Stage
from gpu.summary import summary

# Between the moment a stage has to end and the moment its process is ended.
_GRACE_S = 4.0
_SHORTEST_S = 5.0
_LOOK_S = 2.0
_MOST_WORKERS, _WORKER_BYTES, _TOGETHER_FROM = 12, 2 << 30, 6
_RUNNING: list[subprocess.Popen[bytes]] = []


def groups(names: list[str], together: bool) -> list[list[Stage]]:
    """The named stages in order; those that run side by side are in one list."""
    found: list[list[Stage]] = []
    for stage in STAGES:
        if stage.name in names:
            if stage.beside and found and together:
                found[-1].append(stage)
            else:
                found.append([stage])
    return found


def limits(group: list[Stage], later: list[list[Stage]], left_s: float) -> dict[str, float]:
    """Seconds that each stage of a group may take when `left_s` are left for it and the later ones."""
    kept = sum(max(stage.least_s for stage in other) for other in later)
    return {stage.name: min(stage.most_s, left_s - kept) for stage in group}


def run_stage(
    stage: Stage,
    seconds: float,
    folder: Path,
    so_far: Path,
    seen: Callable[[dict[str, Any]], None] = lambda row: None,
    module: str = "gpu.stages",
) -> dict[str, Any]:
    """Run one stage in a process of its own, and end that process and all it began when its time is over.

    Args:
        seen: told what the stage has found so far, every two seconds.
    """
    result, log = folder / f"{stage.name}.json", folder / f"{stage.name}.txt"
    command = [sys.executable, "-P", "-m", module, stage.name, str(result), str(seconds - _GRACE_S), str(so_far)]
    start = time.monotonic()
    code: int | None = None
    with log.open("w") as words:
        process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, start_new_session=True)
        _RUNNING.append(process)
        while code is None and (taken := time.monotonic() - start) < seconds:
            try:
                code = process.wait(min(_LOOK_S, seconds - taken))
            except subprocess.TimeoutExpired:
                seen(running(result, taken))
        _end(process)
    _RUNNING.remove(process)
    return outcome(result, code, time.monotonic() - start, log.read_text(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process, and all that it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _stop(number: int, frame: Any) -> None:
    """Told to stop: what was found is on disk already."""
    for process in list(_RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    os._exit(1)


def run_all(
    names: list[str], budget_s: float, path: Path, head: dict[str, Any], together: bool = False
) -> dict[str, Any]:
    """All named stages; the results file is written whenever one of them has found something."""
    end = time.monotonic() + budget_s
    planned = groups(names, together)
    stages: dict[str, Any] = {stage.name: {"status": "not run"} for group in planned for stage in group}
    result = {**head, "stages": stages}
    lock = threading.Lock()

    def keep(name: str, row: dict[str, Any]) -> None:
        with lock:
            stages[name] = row
            write_aside(path, result)

    def run_one(stage: Stage, seconds: float) -> None:
        if seconds < _SHORTEST_S + _GRACE_S:
            return keep(stage.name, {"status": "not run", "faults": ["no time was left"]})
        print(f"{stage.name}: up to {seconds:.0f} s", flush=True)
        row = run_stage(stage, seconds, Path(folder), path, functools.partial(keep, stage.name))
        print(f"{stage.name}: {row['status']} in {row['seconds']:.0f} s", flush=True)
        return keep(stage.name, row)

    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Compiled kernels of this run only, and one cache for all its processes.
        os.environ["TRITON_CACHE_DIR"] = f"{folder}/triton"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        write_aside(path, result)
        for i, group in enumerate(planned):
            seconds = limits(group, planned[i + 1 :], end - time.monotonic())
            with ThreadPoolExecutor(len(group)) as pool:
                list(pool.map(run_one, group, [seconds[stage.name] for stage in group]))
    result["passed"] = all(row["status"] == "passed" for row in stages.values())
    write_aside(path, result)
    return result


def pool_size(rehearsal: bool) -> int:
    """How many workers this machine bears: a job compiles on a processor, and a process takes memory of the device."""
    by_memory = _MOST_WORKERS if rehearsal else torch.cuda.get_device_properties(0).total_memory // _WORKER_BYTES
    return int(max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) - 2, by_memory)))


def main() -> int:
    """Measure and keep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results file")
    parser.add_argument("--budget-s", type=float, default=450.0, help="seconds for all stages together")
    parser.add_argument("--stages", default=",".join(stage.name for stage in STAGES), help="names, in any order")
    parser.add_argument("--rehearse", action="store_true", help="the same code on the CPU; never a pass")
    parser.add_argument("--only", default="", help="names of operators; what is measured is then no pass")
    given = parser.parse_args()
    os.environ[ONLY] = given.only
    names = given.stages.split(",")
    unknown = set(names) - {stage.name for stage in STAGES}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    if given.rehearse:
        os.environ[REHEARSAL] = "1"
    elif not torch.cuda.is_available():
        print("NOT RUN: this Python has no torch that sees a CUDA device")
        return 3
    name = "rehearsal" if given.rehearse else torch.cuda.get_device_name()
    path = given.out.resolve() / f"gpu-{slug(name)}.json"
    head = {"device": name, "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "budget_s": given.budget_s}
    signal.signal(signal.SIGTERM, _stop)
    workers = pool_size(given.rehearse)
    os.environ[WORKERS] = str(workers)
    result = run_all(names, given.budget_s, path, head, together=workers >= _TOGETHER_FROM)
    print(summary(result))
    print(f"kept in {path}")
    if given.rehearse:
        print("NOT RUN: this was a rehearsal on the CPU, and says nothing about a GPU")
        return 3
    return 0 if result["passed"] and len(names) == len(STAGES) and not given.only else 1


if __name__ == "__main__":
    sys.exit(main())
