"""`make gpu`: runs the stages one after the other and keeps what they find. Exit 0: every stage ran and passed.

1: a stage failed, was stopped, or was not begun for want of time; 3: not run on a CUDA device, which is no pass.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gpu.machine import ONLY, REHEARSAL
from gpu.report import outcome, slug, write_aside
from gpu.stages import STAGES, Stage
from gpu.summary import summary

# Between the moment a stage has to end and the moment its process is ended.
_GRACE_S = 4.0
_SHORTEST_S = 5.0


def limits(stage: Stage, left_s: float) -> float:
    """Seconds that `stage` may take when `left_s` are left for it and all after it."""
    after = STAGES[STAGES.index(stage) + 1 :]
    return min(stage.most_s, left_s - sum(later.least_s for later in after))


def run_stage(stage: Stage, seconds: float, folder: Path, so_far: Path, module: str = "gpu.stages") -> dict[str, Any]:
    """Run one stage in a process of its own, and end that process and all it began when its time is over."""
    result, log = folder / f"{stage.name}.json", folder / f"{stage.name}.txt"
    command = [sys.executable, "-P", "-m", module, stage.name, str(result), str(seconds - _GRACE_S), str(so_far)]
    start = time.monotonic()
    with log.open("w") as words:
        process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        _end(process)
    return outcome(result, code, time.monotonic() - start, log.read_text(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run_all(names: list[str], budget_s: float, path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """All named stages; the results file is written after each."""
    end = time.monotonic() + budget_s
    chosen = [stage for stage in STAGES if stage.name in names]
    stages: dict[str, Any] = {stage.name: {"status": "not run"} for stage in chosen}
    result = {**head, "stages": stages}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Compiled kernels of this run only, and one cache for all its processes.
        os.environ["TRITON_CACHE_DIR"] = f"{folder}/triton"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        for stage in chosen:
            write_aside(path, result)
            seconds = limits(stage, end - time.monotonic())
            if seconds < _SHORTEST_S + _GRACE_S:
                stages[stage.name] = {"status": "not run", "faults": ["no time was left"]}
                continue
            print(f"{stage.name}: up to {seconds:.0f} s", flush=True)
            stages[stage.name] = run_stage(stage, seconds, Path(folder), path)
            row = stages[stage.name]
            print(f"{stage.name}: {row['status']} in {row['seconds']:.0f} s", flush=True)
    result["passed"] = all(row["status"] == "passed" for row in stages.values())
    write_aside(path, result)
    return result


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
    result = run_all(names, given.budget_s, path, head)
    print(summary(result))
    print(f"kept in {path}")
    if given.rehearse:
        print("NOT RUN: this was a rehearsal on the CPU, and says nothing about a GPU")
        return 3
    return 0 if result["passed"] and len(names) == len(STAGES) and not given.only else 1


if __name__ == "__main__":
    sys.exit(main())
