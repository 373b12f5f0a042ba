"""The Makefile and the CI scripts: what they offer, and that they fail when they should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TARGETS = ("install", "demo", "test", "fast", "lint", "types", "bench", "rivals", "growth", "figures", "gpu", "clean")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="NOT RUN: no make")


def _copy(root: Path, folder: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        shutil.copy(root / name, folder)
    shutil.copytree(root / ".ci", folder / ".ci")
    (folder / "csrc").mkdir()
    return folder


def _run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**clean, **environment})


@needs_make
def test_help_is_the_default_and_names_every_target(root: Path) -> None:
    run = _run(root, "make")
    listed = {line.split()[0] for line in run.stdout.splitlines()}
    assert run.returncode == 0 and listed >= set(TARGETS)


@needs_make
@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("gpu", "clean")])
def test_every_target_begins_with_an_environment_on_a_fresh_clone(root: Path, tmp_path: Path, target: str) -> None:
    run = _run(_copy(root, tmp_path), "make", "-n", target)
    assert run.returncode == 0, run.stderr
    assert run.stdout.index("-m venv .venv") < run.stdout.index("pip install")


@needs_make
def test_a_python_that_is_not_there_is_one_sentence(root: Path, tmp_path: Path) -> None:
    run = _run(_copy(root, tmp_path), "make", "install", "PYTHON=python-not-there")
    assert run.returncode != 0 and "make PYTHON=" in run.stdout


def _fake_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_without_a_gpu_the_gpu_script_says_not_run(root: Path, tmp_path: Path) -> None:
    _fake_program(tmp_path / "python", "exit 1")
    run = _run(_copy(root, tmp_path), ".ci/gpu", GPU_PYTHON=str(tmp_path / "python"))
    assert run.returncode == 3 and run.stdout.startswith("NOT RUN")


_PYTHON_WITH_DEVICE = """case "$*" in
*is_available*) echo "90 A Device";;
*build_ext*) echo "archs $EAMFMEG_CUDA_ARCHS, cuda $EAMFMEG_CUDA, $*"; exit {build};;
*gpu.run*) echo "path $PYTHONPATH, $*"; exit {run};;
*) echo "unexpected $*"; exit 99;; esac"""


@pytest.mark.parametrize(("build", "run"), [(0, 0), (0, 1), (1, 1)])
def test_the_gpu_script_builds_in_place_and_passes_on_what_the_run_says(
    root: Path, tmp_path: Path, build: int, run: int
) -> None:
    """It installs nothing, and runs on when the build fails: the run then says what is missing."""
    _fake_program(tmp_path / "python", _PYTHON_WITH_DEVICE.format(build=build, run=run))
    folder = _copy(root, tmp_path)
    done = _run(folder, ".ci/gpu", GPU_PYTHON=str(tmp_path / "python"), OUT="there", EAMFMEG_GPU_BUDGET_S="99")
    assert done.returncode == run and "pip" not in done.stdout
    assert "archs 90, cuda 1" in done.stdout and "--inplace --force" in done.stdout
    assert f"path {folder}:{folder}/benchmarks" in done.stdout
    assert re.search(r"-m gpu.run --out there --budget-s 9\d$", done.stdout, re.MULTILINE)
    assert ("THE BUILD FAILED" in done.stdout) == bool(build)
    again = _run(folder, ".ci/gpu", GPU_PYTHON=str(tmp_path / "python"))
    assert ("--force" in again.stdout) == bool(build)


@pytest.mark.parametrize(
    ("script", "code", "closing"),
    [
        ("echo '3 passed in 0.1s'", 0, "closing line: 3 passed in 0.1s"),
        ("echo '1 failed, 2 passed in 0.1s'; exit 2", 2, "closing line: 1 failed, 2 passed in 0.1s"),
        ("echo nothing ran", 1, "closing line: none"),
        ("exit 2", 1, "closing line: none"),
    ],
)
def test_ci_passes_on_what_make_says(root: Path, tmp_path: Path, script: str, code: int, closing: str) -> None:
    _fake_program(tmp_path / "bin" / "make", script)
    run = _run(_copy(root, tmp_path), ".ci/run", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert run.returncode == code and closing in run.stdout
