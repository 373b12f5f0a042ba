"""What a result was measured on: commit, processor, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "MNN", "openvino", "nncf")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def commit() -> str:
    """Of this checkout, with "+" when files differ from it; "unknown" without git."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}{'+' if changed else ''}" if head else "unknown"


def machine() -> dict[str, Any]:
    """Processor, its instructions, memory, and the versions of everything that was timed."""
    info = _processor()
    return {
        "processor": info.get("model name", platform.processor() or platform.machine()),
        "family": info.get("cpu family", ""),
        "model": info.get("model", ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in info.get("flags", "").split()],
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def slug(facts: dict[str, Any]) -> str:
    """A short name for files: "amd-epyc-25-17-x2"."""
    words = f"{facts['processor']} {facts['family']} {facts['model']} x{facts['cores']}"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(\w+\)|@.*?Hz", " ", words).lower()).strip("-")


def _processor() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _git(*words: str) -> str:
    try:
        run = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
