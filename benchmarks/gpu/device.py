"""The stage `device`: what this machine is, and whether the package was built for it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from typing import Any

import torch

from eamfmeg_fast.kernels.compiled import library, why_missing
from eamfmeg_fast.kernels.registry import operators
from eamfmeg_fast.kernels.side_build import CSRC, find_nvcc
from eamfmeg_fast.kernels.source_hash import source_hash
from gpu.machine import Machine
from gpu.report import Report

# Names on PyPI and names to import; tests that need one of these say so and are counted as skipped.
_OPTIONAL = {"hypothesis": "hypothesis", "pytest-xdist": "xdist", "pytest-benchmark": "pytest_benchmark"}
_QUERY = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw,ecc.mode.current"


def device(report: Report, machine: Machine, deadline: float) -> None:
    """Name, sizes, versions, clocks; whether each room is here."""
    report.put(
        versions=versions(),
        processor={"threads": os.cpu_count(), "machine": platform.machine(), "system": platform.platform()},
        commit=_said("git", "rev-parse", "HEAD"),
        csrc=source_hash(CSRC),
        absent=[name for name, module in _OPTIONAL.items() if importlib.util.find_spec(module) is None],
        operators={name: list(op.rooms) for name, op in operators().items()},
    )
    if machine.device == "cuda":
        report.put(device=_properties(), smi=smi())
    for name in ("_C", "_cuda") if machine.device == "cuda" else ("_C",):
        if why_missing(name):
            report.fault(f"eamfmeg_fast.{name}: {why_missing(name)}")
        else:
            report.put(**{name: library(name).build_info()})
    for name, op in operators().items():
        missing = {room: op.rooms[room].missing() for room in machine.rooms_of(op) if machine.device == "cuda"}
        report.fault(*(f"{name}, {room}: {reason}" for room, reason in missing.items() if reason))


def versions() -> dict[str, str]:
    """Of Python, of packages and of nvcc; "absent" where there is none."""
    found = {"python": platform.python_version(), "cuda of torch": str(torch.version.cuda)}
    for name in ("torch", "triton", "numpy", "pytest", "pybind11", "setuptools", "onnx"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    nvcc = find_nvcc()
    found["nvcc"] = _said(nvcc, "--version").splitlines()[-1:][0] if nvcc and _said(nvcc, "--version") else "absent"
    return found


def smi() -> dict[str, str]:
    """The driver's version and the clocks of this moment."""
    said = _said("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits").splitlines()
    return dict(zip(_QUERY.split(","), map(str.strip, said[0].split(",")))) if said else {}


def _properties() -> dict[str, Any]:
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_bytes": found.total_memory,
        "l2_bytes": found.L2_cache_size,
        "devices": torch.cuda.device_count(),
    }


def _said(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
