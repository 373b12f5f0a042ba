"""Builds csrc/ beside the installed library, without Python: planted faults, sanitizers, CUDA on the CPU."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from eamfmeg_fast.errors import BackendError

CSRC = Path(__file__).resolve().parent.parent / "csrc"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
_SWITCH = '#include "common/mutants.h"\nextern "C" void set_mutant(int n) { eamfmeg::mutant_number() = n; }\n'
_FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-DEAMFMEG_MUTANTS")
_NVCC_FLAGS = ("-std=c++17", "-O2", "-shared", "-Xcompiler=-fPIC", "-DEAMFMEG_MUTANTS")
SIDE_LIBRARY = "side.so"
"""Name of the library in its folder."""


class SideLibrary:
    """Looks like `eamfmeg_fast._C` or `_cuda`; its planted faults can be switched on."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))

    def with_mutant(self, number: int) -> SideLibrary:
        """Switch one fault on; 0: none."""
        self._dll.set_mutant(number)
        return self

    def limit_isa(self, level: int) -> int:
        """As `_C.limit_isa`."""
        return int(self._dll.eamfmeg_limit_isa(level))

    def __getattr__(self, name: str) -> Callable[..., None]:
        entry = getattr(self._dll, f"eamfmeg_{name}")

        def call(*args: Any) -> None:
            status = entry(*(ctypes.c_float(a) if isinstance(a, float) else ctypes.c_int64(a) for a in args))
            if status:
                raise RuntimeError(f"{name} returned {status}")

        return call


def build_cpu(folder: Path, flags: Sequence[str] = ()) -> SideLibrary:
    """All `*_cpu.cpp` with their planted faults.

    Raises:
        BackendError: no C++ compiler, or no checkout.
    """
    return _build(folder, "*/*_cpu.cpp", ["-fopenmp", *flags])


def build_cuda_on_host(folder: Path, flags: Sequence[str] = ()) -> SideLibrary:
    """All `*_cuda.cu` with their planted faults, for the CPU, through the host shim.

    Raises:
        BackendError: no C++ compiler, or no checkout.
    """
    return _build(folder, "*/*_cuda.cu", [f"-I{CSRC / 'host_shim'}", "-Wno-unknown-pragmas", *flags])


def find_nvcc() -> str | None:
    """Path of nvcc: on PATH, or under CUDA_HOME."""
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which("nvcc") or shutil.which("nvcc", path=str(home / "bin"))


def build_cuda(folder: Path, arch: str) -> SideLibrary:
    """All `*_cuda.cu` with their planted faults, for devices of one capability: "90".

    Raises:
        BackendError: no nvcc, or no checkout.
    """
    return _build(folder, "*/*_cuda.cu", [f"-arch=sm_{arch}"], find_nvcc() or "")


def _build(folder: Path, pattern: str, flags: Sequence[str], nvcc: str | None = None) -> SideLibrary:
    compiler = shutil.which(os.environ.get("CXX", "c++")) if nvcc is None else nvcc
    files = sorted(CSRC.glob(pattern))
    if not compiler or not files:
        word = "C++ compiler" if nvcc is None else "nvcc"
        found = "no csrc/ beside this package" if compiler else f"no {word}"
        raise BackendError(found, "a checkout and a compiler", f"Install a {word}, and run this from a checkout.")
    switch = folder / "switch.cpp"
    switch.write_text(_SWITCH)
    flags = [*(_FLAGS if nvcc is None else _NVCC_FLAGS), *flags]
    language = ["-x", "c++"] if nvcc is None else ["-x", "cu"]
    everything = [*files, switch]

    def compile_one(i: int) -> int:
        command = [compiler, *flags, f"-I{CSRC}", *language, "-c", str(everything[i]), "-o", str(folder / f"{i}.o")]
        return subprocess.run(command).returncode

    # One object for each file, side by side: on one core the whole build would take a minute.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        if any(list(pool.map(compile_one, range(len(everything))))):
            raise BackendError("csrc/ does not compile", "", "The compiler's words are above.")
    objects = [str(folder / f"{i}.o") for i in range(len(everything))]
    subprocess.run([compiler, *flags, *objects, "-o", str(folder / SIDE_LIBRARY)], check=True)
    return SideLibrary(folder / SIDE_LIBRARY)
