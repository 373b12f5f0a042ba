"""The stage `sanitizer`: compute-sanitizer over small samples of every room, after it has found a planted fault."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eamfmeg_fast.kernels.side_build import find_nvcc
from gpu.machine import Machine
from gpu.report import Report

REFUSED = "refused by this machine"
DONE = "sanitized:"
_TOOLS = ("memcheck", "racecheck", "initcheck")
_REFUSALS = re.compile(
    r"Device not supported|not supported on this|Failed to initialize|[Uu]nable to (?:attach|initialize|find)|"
    r"LibraryNotLoaded|Operation not permitted|error 999|Internal Sanitizer Error"
)


def sanitizer(report: Report, machine: Machine, deadline: float) -> None:
    """Memory, races and uninitialised reads of the rooms; one planted write beyond the end must be found."""
    program = find_sanitizer()
    if program is None:
        report.fault("compute-sanitizer is neither on PATH nor under CUDA_HOME")
        return
    runs: dict[str, Sequence[str]] = {"control": (program, "memcheck", "triton", "--fault")}
    runs |= {f"{tool}, {room}": (program, tool, room) for tool in _TOOLS for room in machine.rooms}
    report.put(program=program)
    for name, (code, words) in _all_at_once(runs, deadline).items():
        row = verdict(code, words)
        report.put(**{name: row})
        fault = fault_of(name, row)
        if fault:
            report.fault(f"{name}: {fault}")


def fault_of(name: str, row: dict[str, Any]) -> str:
    """Why a run is red; empty when it is not. The control must find what was planted."""
    if row["status"] == REFUSED:
        return ""
    if name == "control":
        return "" if row["status"] == "errors" else f"a planted fault was not found: {row['words'][-600:]}"
    return "" if row["status"] == "clean" else f"{row['status']}: {row['words'][-900:]}"


def verdict(code: int | None, words: str) -> dict[str, Any]:
    """What a run of compute-sanitizer has shown: "clean", "errors", "refused by this machine" or "incomplete".

    Args:
        code: of its process; None when it was stopped.
    """
    found = [int(n) for n in re.findall(r"ERROR SUMMARY: (\d+) error", words)]
    found += [int(n) for n in re.findall(r"RACECHECK SUMMARY: (\d+) hazard", words)]
    ran = re.search(rf"{DONE} (\d+) calls", words)
    samples = int(ran[1]) if ran else 0
    if code is None:
        status = "stopped for time"
    elif any(found):
        # Where the tool cannot attach it counts its own failure as an error; no kernel has run then.
        status = REFUSED if not samples and _REFUSALS.search(words) else "errors"
    elif found and samples:
        status = "clean" if code == 0 else "incomplete"
    else:
        status = REFUSED if _REFUSALS.search(words) else "incomplete"
    return {"status": status, "calls": samples, "words": "" if status == "clean" else words[-2500:]}


def find_sanitizer() -> str | None:
    """Path of compute-sanitizer."""
    nvcc = find_nvcc()
    homes = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")), *([Path(nvcc).resolve().parents[1]] if nvcc else [])]
    homes += sorted(Path("/usr/local").glob("cuda-*"))
    places = [os.environ.get("PATH", ""), *(f"{h}/{d}" for h in homes for d in ("bin", "compute-sanitizer"))]
    return shutil.which("compute-sanitizer", path=os.pathsep.join(places))


def _all_at_once(runs: dict[str, Sequence[str]], deadline: float) -> dict[str, tuple[int | None, str]]:
    # Without PyTorch's pool of memory every tensor is an allocation of its own, whose end the tool knows.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "OMP_NUM_THREADS": "1"}
    running = {}
    for name, (program, tool, *arguments) in runs.items():
        command = [program, "--tool", tool, "--print-limit", "5", "--error-exitcode", "86"]
        script = [sys.executable, "-P", "-m", "gpu.sanitized", *arguments]
        running[name] = subprocess.Popen(
            [*command, *script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    ended = {}
    for name, process in running.items():
        try:
            words, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
            ended[name] = (process.returncode, words)
        except subprocess.TimeoutExpired:
            process.kill()
            ended[name] = (None, process.communicate()[0])
    return ended
