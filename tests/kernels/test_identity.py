"""What is special about identity: its gradient, its fallbacks, and its kernels seen without a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import eamfmeg_fast.kernels.identity as room
from eamfmeg_fast.kernels.identity import OP, identity

_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from eamfmeg_fast.kernels.identity.triton_kernel import identity_kernel as kernel
names = kernel.arg_names
signature = {name: "i32" for name in names} | {"out_ptr": "*fp16", "x_ptr": "*fp16", "count": "i64"}
signature |= {"BLOCK": "constexpr", "MUTANT": "constexpr"}
for capability in (80, 86, 89, 90, 100, 120):
    source = ASTSource(fn=kernel, signature=signature, constexprs={"BLOCK": 1024, "MUTANT": 0})
    print(capability, len(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]))
"""


def test_the_result_shares_no_memory() -> None:
    x = torch.ones(1, 2, 2, 3)
    y = identity(x)
    x.zero_()
    assert bool((y == 1).all())


def test_gradient_is_passed_through() -> None:
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(identity, (x,))


def test_runs_in_plain_pytorch_without_the_compiled_library(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, 4, 5).permute(0, 2, 3, 1)
    monkeypatch.setattr(room, "why_missing", lambda name: "not built")
    assert torch.equal(identity(x), x)


def test_threads_give_the_same_bytes() -> None:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    x = torch.randn(1, 64, 64, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = identity(x)
        torch.set_num_threads(2)
        assert torch.equal(identity(x), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_triton_compiles_for_every_architecture(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    script = tmp_path / "compile_kernels.py"
    script.write_text(_COMPILE)
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    sizes = dict(line.split() for line in run.stdout.splitlines())
    assert list(sizes) == ["80", "86", "89", "90", "100", "120"] and all(int(size) > 1000 for size in sizes.values())


@pytest.mark.slow
def test_cuda_source_compiles(root: Path, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("NOT RUN: no nvcc")
    source = root / "csrc/identity/identity_cuda.cu"
    flags = ["-std=c++17", "-arch=sm_90", f"-I{root / 'csrc'}", "-Werror=all-warnings"]
    for extra in ([], ["-DEAMFMEG_MUTANTS"]):
        subprocess.run([nvcc, *flags, *extra, "-c", str(source), "-o", str(tmp_path / "identity.o")], check=True)
