"""Kernels built for devices that are not here: for every architecture, and without register spills."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eamfmeg_fast.errors import BackendError
from eamfmeg_fast.kernels import side_build
from eamfmeg_fast.kernels.registry import operators
from eamfmeg_fast.kernels.side_build import build_cuda, find_nvcc

_ARCHS = (80, 86, 89, 90, 100, 120)
_TRITON = sorted(name for name, op in operators().items() if "triton" in op.rooms)
_CUDA = sorted(name for name, op in operators().items() if "cuda" in op.rooms)
_MATRIX = ("edge_attention", "upsample_conv")
"""Operators that are matrix products: in 16 bits they belong on the tensor cores."""
_SHARED = 99 * 1024
"""Bytes that a block may have on the smallest of these devices."""
_SCRIPT = """
import dataclasses, importlib, json, sys
from eamfmeg_fast.kernels.triton_build import CAPABILITIES, build
room = importlib.import_module(f"eamfmeg_fast.kernels.{sys.argv[1]}.triton_kernel")
for variant in room.variants():
    for capability in CAPABILITIES:
        print(json.dumps([variant.name, capability, dataclasses.asdict(build(variant, capability))]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", _TRITON)
def test_triton_compiles_for_every_architecture_without_spills(name: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    # A process of its own: in this one the interpreter may be on.
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-P", "-c", _SCRIPT, name]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {capability for _, capability, _ in rows} == set(_ARCHS)
    assert not [row for row in rows if row[2]["spilled"] or row[2]["shared"] > _SHARED]
    products = [row for row in rows if name in _MATRIX and re.match("(fp|bf|float|bfloat)16", row[0])]
    assert bool(products) == (name in _MATRIX) and all(row[2]["tensor_cores"] for row in products), products


@pytest.mark.slow
def test_cuda_with_planted_faults_builds_and_says_when_it_cannot_launch(tmp_path: Path) -> None:
    if find_nvcc() is None:
        pytest.skip("NOT RUN: no nvcc")
    library = build_cuda(tmp_path, "90").with_mutant(1)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="identity_cuda returned"):
            library.identity_cuda(0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 4, 0)


def test_without_nvcc_the_cuda_build_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_build, "find_nvcc", lambda: None)
    with pytest.raises(BackendError, match="no nvcc"):
        build_cuda(tmp_path, "90")


@pytest.mark.slow
@pytest.mark.parametrize("name", _CUDA)
def test_cuda_compiles_for_every_architecture_without_spills(name: str, root: Path, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("NOT RUN: no nvcc")
    flags = ["-std=c++17", "-O3", f"-I{root / 'csrc'}", "-Werror=all-warnings", "-Xptxas=-v", "--threads=0"]
    archs = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in _ARCHS]
    command = [nvcc, *flags, *archs, "-c", str(root / f"csrc/{name}/{name}_cuda.cu"), "-o", str(tmp_path / "x.o")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    spills = [int(found) for found in re.findall(r"(\d+) bytes spill stores", run.stderr)]
    assert len(spills) >= len(_ARCHS) and not any(spills)
    subprocess.run([*command[:6], "-arch=sm_90", "-DEAMFMEG_MUTANTS", *command[-4:]], check=True, capture_output=True)
