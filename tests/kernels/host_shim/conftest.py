"""Compiles the kernels of kernels.cu through csrc/host_shim and calls them with numpy arrays."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ORDERS = {"forward": 0, "reverse": 1, "shuffle": 2, "another shuffle": 77}
_FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]


class HostKernels:
    """Kernels compiled through the shim; arrays are passed as addresses."""

    def __init__(self, path: Path) -> None:
        self.dll = ctypes.CDLL(str(path))
        self.dll.eamfmeg_shim_fault.restype = ctypes.c_char_p

    def order(self, name: str) -> None:
        """Which threads run first."""
        self.dll.eamfmeg_shim_order(ORDERS[name])

    def fault(self) -> str:
        """What the last launch reported."""
        return str(self.dll.eamfmeg_shim_fault().decode())

    def __call__(self, name: str, *arguments: Any) -> int:
        passed = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else int(a) for a in arguments]
        return int(getattr(self.dll, f"shim_{name}")(*passed))


def _compile(root: Path, out: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("NOT RUN: no C++ compiler")
    includes = [f"-I{root / 'csrc/host_shim'}", f"-I{root / 'csrc'}", "-x", "c++"]
    files = [root / "tests/kernels/host_shim/kernels.cu", root / "csrc/identity/identity_cuda.cu"]
    subprocess.run([compiler, *_FLAGS, *includes, *map(str, files), "-o", str(out)], check=True)


@pytest.fixture(scope="session")
def library(root: Path, tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    """The kernels, compiled once."""
    path = tmp_path_factory.mktemp("shim") / "kernels.so"
    _compile(root, path)
    return HostKernels(path)


@pytest.fixture(params=list(ORDERS))
def kernels(library: HostKernels, request: pytest.FixtureRequest) -> Iterator[HostKernels]:
    """The kernels, in one order of threads after the other."""
    library.order(request.param)
    yield library
    library.order("forward")


@pytest.fixture
def forward(library: HostKernels) -> HostKernels:
    """The kernels, threads in their natural order."""
    library.order("forward")
    return library
