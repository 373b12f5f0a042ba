"""The tests of every operator again, in a process whose Triton kernels run in the interpreter, on the CPU."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eamfmeg_fast.kernels.registry import operators


def _release(name: str) -> tuple[int, ...]:
    return tuple(map(int, importlib.metadata.version(name).split(".")[:2]))


def _interpret(root: Path, tmp_path: Path, file: str, chosen: str) -> str:
    pytest.importorskip("triton")
    if _release("triton") == (3, 6) and _release("numpy") >= (2, 4):
        pytest.skip("NOT RUN: the interpreter of Triton 3.6 breaks with numpy 2.4")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
    run = subprocess.run(
        [*command, str(root / "tests/kernels" / file)],
        env={**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert "skipped" not in run.stdout, run.stdout[-500:]
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name, op in operators().items() if "triton" in op.rooms))
def test_triton_rooms_pass_in_the_interpreter(name: str, root: Path, tmp_path: Path) -> None:
    passed = re.search(r"(\d+) passed", _interpret(root, tmp_path, "test_every_room.py", f"{name}-triton"))
    assert passed and int(passed[1]) == 3


@pytest.mark.slow
def test_the_network_runs_in_the_interpreter(root: Path, tmp_path: Path) -> None:
    passed = re.search(r"(\d+) passed", _interpret(root, tmp_path, "test_network_rooms.py", "triton"))
    assert passed and int(passed[1]) == 2
