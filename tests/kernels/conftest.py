"""Builds the compiled rooms with their planted faults, without Python and without touching the installed library."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_SWITCH = '#include "common/mutants.h"\nextern "C" void set_mutant(int n) { eamfmeg::mutant_number() = n; }\n'
_FLAGS = ["-std=c++17", "-O1", "-shared", "-fPIC", "-DEAMFMEG_MUTANTS"]


class FaultyLibrary:
    """Looks like `eamfmeg_fast._C` or `_cuda`, with the planted fault `number` switched on (0: none)."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))

    def with_mutant(self, number: int) -> FaultyLibrary:
        """Switch one fault on."""
        self._dll.set_mutant(number)
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        entry = getattr(self._dll, f"eamfmeg_{name}")

        def call(*args: Any) -> None:
            status = entry(*(ctypes.c_float(a) if isinstance(a, float) else ctypes.c_int64(a) for a in args))
            if status:
                raise RuntimeError(f"{name} returned {status}")

        return call


def _build(root: Path, folder: Path, pattern: str, before: list[str]) -> FaultyLibrary:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("NOT RUN: no C++ compiler")
    (folder / "switch.cpp").write_text(_SWITCH)
    files = [*sorted((root / "csrc").glob(pattern)), folder / "switch.cpp"]
    command = [compiler, *_FLAGS, *before, f"-I{root / 'csrc'}", "-x", "c++", *map(str, files)]
    subprocess.run([*command, "-o", str(folder / "mutants.so")], check=True)
    return FaultyLibrary(folder / "mutants.so")


@pytest.fixture(scope="session")
def faulty_library(root: Path, tmp_path_factory: pytest.TempPathFactory) -> FaultyLibrary:
    """All `*_cpu.cpp` compiled with -DEAMFMEG_MUTANTS."""
    return _build(root, tmp_path_factory.mktemp("mutants"), "*/*_cpu.cpp", ["-fopenmp"])


@pytest.fixture(scope="session")
def cuda_on_host(root: Path, tmp_path_factory: pytest.TempPathFactory) -> FaultyLibrary:
    """All `*_cuda.cu` compiled for the CPU through the host shim, with -DEAMFMEG_MUTANTS."""
    shim = root / "csrc" / "host_shim"
    if not shim.is_dir():
        pytest.skip("NOT RUN: no host shim")
    return _build(root, tmp_path_factory.mktemp("cuda_on_host"), "*/*_cuda.cu", [f"-I{shim}"])
