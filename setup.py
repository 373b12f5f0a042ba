"""Package map and compiled parts; everything else stands in pyproject.toml.

EAMFMEG_CUDA=1 also builds `eamfmeg_fast._cuda` with nvcc, for the architectures in EAMFMEG_CUDA_ARCHS.
EAMFMEG_MUTANTS=1 builds with the planted faults that the tests must catch; never for use.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
ROOMS = ("kernels", "export")
ARCHS = os.environ.get("EAMFMEG_CUDA_ARCHS", "80;86;89;90;100;120").split(";")
FLAGS = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"]
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []


def cuda_homes() -> list[Path]:
    """Folders that may hold the CUDA toolkit, the likeliest first."""
    nvcc = shutil.which("nvcc")
    beside = [Path(nvcc).resolve().parent.parent] if nvcc else []
    return [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")), *beside, *sorted(Path("/usr/local").glob("cuda-*"))]


def find_nvcc() -> str:
    """Path of nvcc; the build stops without it, because CUDA was asked for."""
    places = [os.environ.get("PATH", ""), *(f"{home}/bin" for home in cuda_homes())]
    nvcc = shutil.which("nvcc", path=os.pathsep.join(places))
    if nvcc is None:
        raise SystemExit("EAMFMEG_CUDA=1, but nvcc is neither on PATH nor under CUDA_HOME. Install the CUDA toolkit.")
    return nvcc


class BuildExt(build_ext):
    """Compiles the `*_cuda.cu` files with nvcc first and hands the objects to the linker."""

    def build_extension(self, ext: Extension) -> None:
        """Build one extension module."""
        if ext.name.endswith("._cuda"):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                ext.extra_objects += pool.map(self._nvcc, map(str, sources("cuda.cu")))
        super().build_extension(ext)

    def _nvcc(self, source: str) -> str:
        target = Path(self.build_temp, source).with_suffix(".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        archs = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHS]
        archs.append(f"-gencode=arch=compute_{ARCHS[-1]},code=compute_{ARCHS[-1]}")
        macros = [f"-D{name}" for name, _ in MUTANTS]
        command = [find_nvcc(), "-c", source, "-o", str(target), "-O3", "-std=c++17", "-Icsrc", "-Xcompiler=-fPIC"]
        subprocess.run([*command, *macros, *archs, "--threads=0"], check=True)
        return str(target)


def sources(ending: str) -> list[Path]:
    """The operators' source files of one kind, relative to the checkout; sorted, so that builds repeat."""
    return sorted(path.relative_to(HERE) for path in (HERE / "csrc").glob(f"*/*_{ending}"))


def extension(name: str, files: list[Path], macros: list[tuple[str, str | None]], **extra: list[str]) -> Extension:
    """One extension module around csrc/bindings.cpp."""
    import pybind11
    from pybind11.setup_helpers import ParallelCompile

    # One file after the other, the build would take a core's minutes. EAMFMEG_BUILD_JOBS limits it.
    ParallelCompile("EAMFMEG_BUILD_JOBS").install()
    stamp = runpy.run_path(str(HERE / "kernels" / "source_hash.py"))["source_hash"](HERE / "csrc")
    flags = FLAGS + OPENMP
    return Extension(
        f"eamfmeg_fast.{name}",
        ["csrc/bindings.cpp", *map(str, files)],
        depends=[str(path.relative_to(HERE)) for path in (HERE / "csrc").rglob("*.[ch]*")],
        include_dirs=["csrc", pybind11.get_include()],
        define_macros=[
            ("EAMFMEG_MODULE", name),
            ("EAMFMEG_SOURCE_HASH", f'"{stamp}"'),
            ("EAMFMEG_FLAGS", '"' + " ".join(flags) + '"'),
            *macros,
            *MUTANTS,
        ],
        extra_compile_args=flags,
        extra_link_args=OPENMP + extra.pop("link", []),
        language="c++",
        **extra,
    )


def extensions() -> list[Extension]:
    """`_C` where a compiler is found, `_cuda` when asked for."""
    try:
        wanted = [extension("_C", sources("cpu.cpp"), [])]
    except ImportError:
        print("pybind11 is not there: building without eamfmeg_fast._C. `eamfmeg doctor` says what that costs.")
        return []
    # Without a compiler the package installs all the same and runs its PyTorch rooms.
    wanted[0].optional = True
    if os.environ.get("EAMFMEG_CUDA") == "1":
        find_nvcc()
        link = [f"-L{home}/{folder}" for home in cuda_homes() for folder in ("lib64", "lib")]
        link += ["-lcudart_static", "-ldl", "-lrt", "-lpthread"]
        wanted.append(extension("_cuda", [], [("EAMFMEG_CUDA", "1")], link=link))
    return wanted


MUTANTS: list[tuple[str, str | None]] = [("EAMFMEG_MUTANTS", "1")] if os.environ.get("EAMFMEG_MUTANTS") == "1" else []

setup(
    package_dir={f"eamfmeg_fast.{room}": room for room in ROOMS},
    packages=find_packages(include=["eamfmeg_fast", "eamfmeg_fast.*"])
    + [f"eamfmeg_fast.{name}" for room in ROOMS for name in find_packages(include=[room, f"{room}.*"])],
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExt},
)
