"""What follows a convolution, and the keypoints' algebra: PyTorch's way and the kernels' way give the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.engine.cuda import pointwise, relative
from eamfmeg_fast.engine.cuda.pointwise import pooled, settle, settle_and_norm
from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.network import Keypoints, move

TYPES = [torch.float32, torch.float16, torch.bfloat16]
_SCRIPT = """
import dataclasses, json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from eamfmeg_fast.engine.cuda import triton_kernel
from eamfmeg_fast.kernels.triton_build import build
for variant in triton_kernel.variants():
    for capability in (80, 120):
        print(json.dumps([variant.name, capability, dataclasses.asdict(build(variant, capability)), ""]))
kernel = triton_kernel.motion_kernel
constants = {"RELATIVE": True, "BLOCK": 16}
kinds = {name: "*fp32" if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
text = ASTSource(fn=kernel, signature={**kinds, **dict.fromkeys(constants, "constexpr")}, constexprs=constants)
for fused in (True, False):
    made = triton.compile(text, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1, "enable_fp_fusion": fused})
    print(json.dumps(["motion", 90, {"spilled": 0, "shared": 0, "fused": fused}, made.asm["ptx"]]))
"""


@pytest.fixture(params=["interpreted", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where kernels run: on a device, or on the CPU in a process that interprets them."""
    if request.param == "interpreted" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("the interpreter of Triton is not on")
    return "cpu" if request.param == "interpreted" else "cuda"


@contextmanager
def _plainly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointwise, "in_triton", lambda kind: False)
        patch.setattr(relative, "in_triton", lambda kind: False)
        yield


def _noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def _close(a: Tensor, b: Tensor) -> None:
    # The interpreter rounds to bfloat16 in its own way.
    torch.testing.assert_close(a, b, rtol=2 * torch.finfo(a.dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("wide", [0, 4])
def test_settling(dtype: torch.dtype, relu: bool, wide: int) -> None:
    x, bias, add = _noise(2, 3, 4, 5, dtype=dtype), _noise(5, seed=2), _noise(2, 3, 4, 5, seed=3, dtype=dtype)
    expected = x.double() + bias + add
    memory = torch.full((2, 3, 4, 5 + wide), 9, dtype=dtype)
    with _plainly():
        found = settle(x.clone(), bias, relu=relu, add=add, out=memory[..., :5] if wide else None)
        same = x.clone()
        assert settle(same, bias, relu=relu) is same
    torch.testing.assert_close(found, (expected.relu() if relu else expected).to(dtype), rtol=1e-2, atol=1e-6)
    assert (memory[..., 5:] == 9).all()


@pytest.mark.parametrize("bad", [7e4, -7e4, float("inf"), float("-inf"), float("nan")])
def test_what_does_not_fit_raises_the_flag(bad: float) -> None:
    """Also where the ReLU hides it."""
    x, flag = torch.zeros(1, 2, 2, 3, dtype=torch.float16), torch.zeros(1, dtype=torch.int32)
    one = torch.ones(3), torch.zeros(3)
    with _plainly():
        settle(x.clone(), torch.tensor([0.0, 0.0, 6e4]), flag=flag)
        settle_and_norm(x.clone(), torch.tensor([0.0, 0.0, 6e4]), None, one, flag)
        assert flag.item() == 0
        settle(x.clone(), torch.tensor([0.0, 0.0, bad]), flag=flag)
        settle(x.clone(), torch.zeros(3), flag=flag)
        assert flag.item() == 1
        flag.zero_()
        settle_and_norm(x.clone(), None, None, (torch.ones(3), torch.tensor([bad, 0.0, 0.0])), flag)
        assert flag.item() == 1


def test_norms_see_what_was_not_rounded() -> None:
    x, bias, add = _noise(1, 2, 2, 3, dtype=torch.float16), _noise(3, seed=2), _noise(1, 2, 2, 3, seed=3).half()
    norm = _noise(3, seed=4) * 1e3, _noise(3, seed=5)
    exact = x.double() + bias + add
    with _plainly():
        stream, hidden = settle_and_norm(x, bias, add, norm, None)
    assert stream is x and torch.equal(stream, (x.float() * 0 + exact).half())
    right = (exact * norm[0] + norm[1]).relu()
    assert (hidden - right).abs().max() < 0.75 * torch.finfo(torch.float16).eps * right.max()


def test_means_are_taken_after_the_relu() -> None:
    x = torch.tensor([[1.0, -5.0], [2.0, 4.0]]).view(1, 2, 2, 1)
    with _plainly():
        assert pooled(x, torch.tensor([1.0])).flatten().tolist() == [(2 + 0 + 3 + 5) / 4]


@pytest.mark.parametrize("dtype", TYPES)
def test_kernels_settle_as_pytorch_does(device: str, dtype: torch.dtype) -> None:
    def noise(*shape: int, seed: int, kind: torch.dtype = torch.float32) -> Tensor:
        return _noise(*shape, seed=seed, dtype=kind, device=device)

    shape = (2, 9, 8, 17)
    bias, norm = noise(17, seed=2), (noise(17, seed=3), noise(17, seed=4))
    flags = [torch.zeros(1, dtype=torch.int32, device=device) for _ in range(2)]

    def calls(flag: Tensor) -> list[Tensor]:
        x, add = noise(*shape, seed=5, kind=dtype), noise(*shape, seed=6, kind=dtype)
        wide = torch.zeros(*shape[:3], 23, dtype=dtype, device=device)
        settle(x, bias, add=add, out=wide[..., :17], flag=flag)
        found = [wide, settle(x.clone(), bias, relu=False, flag=flag), settle(x.clone(), None, flag=flag)]
        found += settle_and_norm(x.clone(), bias, add, norm, flag)
        return found + list(settle_and_norm(x.clone(), None, None, norm, flag))

    with _plainly():
        expected = calls(flags[0])
    for a, b in zip(calls(flags[1]), expected, strict=True):
        _close(a, b)
    assert flags[0].item() == flags[1].item() == 0


@pytest.mark.parametrize("bad", [7e4, -7e4, float("inf"), float("-inf"), float("nan")])
def test_kernels_raise_the_flag(device: str, bad: float) -> None:
    x, flag = torch.zeros(1, 40, 40, 3, dtype=torch.float16, device=device), torch.zeros(1, dtype=torch.int32)
    flag = flag.to(device)
    for bias, raised in ((6e4, 0), (bad, 1), (0.0, 1)):
        settle(x.clone(), torch.tensor([0.0, bias, 0.0], device=device), flag=flag)
        assert flag.item() == raised
    flag.zero_()
    settle_and_norm(x, None, None, (torch.ones(3, device=device), torch.tensor([0, 0, bad], device=device)), flag)
    assert flag.item() == 1


def test_kernels_take_means_as_pytorch_does(device: str) -> None:
    x, bias = _noise(3, 6, 10, 7, device=device), _noise(7, seed=2, device=device)
    with _plainly():
        expected = pooled(x, bias)
    _close(pooled(x, bias), expected)


def _points(count: int, seed: int, device: str) -> Keypoints:
    jacobian = torch.eye(2) + 0.2 * _noise(count, 11, 2, 2, seed=seed)
    return Keypoints(_noise(count, 11, 2, seed=seed + 1, device=device), jacobian.to(device))


COUNTS = [(1, 1, 1, 1), (1, 1, 3, 1), (3, 1, 1, 3), (3, 3, 3, 3), (3, 0, 3, 1), (1, 0, 3, 1)]


@pytest.mark.parametrize("counts", COUNTS)
def test_kernels_move_as_pytorch_does(device: str, counts: tuple[int, ...]) -> None:
    target, initial, driving = (_points(n, i, device) if n else None for i, n in enumerate(counts[:3]))
    factor, batch = _noise(counts[3], seed=9, device=device).abs(), max(counts[:3])
    with _plainly():
        expected = relative.moved_by(target, initial, driving, factor, batch)
    found = relative.moved_by(target, initial, driving, factor, batch)
    for a, b in zip((*found[0], found[1]), (*expected[0], expected[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    if initial is not None:
        _check_still(relative.moved_by(target, driving, driving, factor, batch), target)


def _check_still(found: tuple[Keypoints, Tensor], target: Keypoints) -> None:
    for a, b in zip(found[0], target):
        assert torch.equal(a, b.expand_as(a))
    eye = torch.eye(2, device=target.kp.device)
    assert torch.equal(found[1][..., :2], eye.expand_as(found[1][..., :2])) and not found[1][..., 2].any()


@pytest.mark.parametrize("counts", COUNTS)
def test_moving_is_the_network_s(counts: tuple[int, ...]) -> None:
    target, initial, driving = (_points(n, i, "cpu") if n else None for i, n in enumerate(counts[:3]))
    factor, batch = _noise(counts[3], seed=9).abs(), max(counts[:3])
    with _plainly():
        moved, affine = relative.moved_by(target, initial, driving, factor, batch)
    expected = move(target, initial, driving, scale=factor) if initial else driving
    assert moved.kp.shape == (batch, 11, 2) and affine.shape == (batch, 11, 2, 3)
    assert all(torch.equal(a, b.expand_as(a)) for a, b in zip(moved, expected))
    assert torch.equal(affine, affine_of(*target, *expected).expand_as(affine))


@pytest.mark.slow
def test_kernels_in_the_interpreter(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "interpreted", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    pytest.importorskip("triton")
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0 and "15 passed" in run.stdout and "skipped" not in run.stdout, run.stdout[-3000:]


@pytest.mark.slow
def test_kernels_compile_for_old_and_new_devices(tmp_path: Path) -> None:
    """Without spills; and the keypoints' algebra rounds each product, or a face at rest would move."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    run = subprocess.run([sys.executable, "-P", "-c", _SCRIPT], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {row[1] for row in rows} == {80, 90, 120} and not [row for row in rows if row[2]["spilled"]]
    fused = {row[2]["fused"]: "fma." in row[3] for row in rows if row[3]}
    assert fused == {True: True, False: False}
