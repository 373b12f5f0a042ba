"""The vector functions of csrc/common/ at every level, against PyTorch and their portable meaning."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

_EXP, _SIGMOID, _ROUND, _POWER, _MAX, _MIN, _ADD, _SUB, _MUL, _DIV, _FMA, _SUM, _LARGEST = range(13)
_LEVELS = {"portable": 0, "avx2": 1, "avx512": 2}
_NORMAL = 2.0**-126
_EDGE = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).check_edge(int(sys.argv[2])) & 127)"


@pytest.fixture(scope="module")
def path(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of its own, built from csrc/common/ as the package builds it."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None or sys.platform != "linux":
        pytest.skip("NOT RUN: no C++ compiler")
    here = root / "tests" / "kernels"
    built = tmp_path_factory.mktemp("vector") / "check.so"
    files = [here / "vector_check.cpp", root / "csrc" / "common" / "isa_cpu.cpp"]
    flags = ["-std=c++17", "-O3", "-shared", "-fPIC", f"-I{root / 'csrc'}", f"-I{here}"]
    subprocess.run([compiler, *flags, *map(str, files), "-o", str(built)], check=True)
    return built


@pytest.fixture(params=_LEVELS)
def library(request: pytest.FixtureRequest, path: Path) -> ctypes.CDLL:
    """That library at one level."""
    found = ctypes.CDLL(str(path))
    if found.eamfmeg_limit_isa(_LEVELS[request.param]) != _LEVELS[request.param]:
        pytest.skip(f"NOT RUN: this processor has no {request.param}")
    return found


def _apply(library: ctypes.CDLL, what: int, a: Tensor, b: Tensor | None = None) -> Tensor:
    """One function over `a`, whose length need not be a multiple of anything."""
    pad = -a.numel() % 16
    a, b = (torch.nn.functional.pad(x.float(), (0, pad)).contiguous() for x in (a, a if b is None else b))
    out = torch.full_like(a, 12345.0)
    count = ctypes.c_int64(a.numel())
    library.check_map(what, *(ctypes.c_void_p(x.data_ptr()) for x in (out, a, b)), count)
    return out[: out.numel() - pad]


def _ulps(got: Tensor, want: Tensor) -> Tensor:
    """Distance in units of the last place of `want` (float64); its smallest unit is that of normal numbers."""
    unit = torch.exp2(torch.floor(torch.log2(want.abs().clamp(min=_NORMAL))) - 23)
    return (got.double() - want).abs() / unit


def test_exp_within_two_units_of_the_last_place(library: ctypes.CDLL) -> None:
    x = torch.cat(
        [torch.linspace(-86.98, 88.72, 1 << 20), torch.linspace(-1, 1, 1 << 16), torch.tensor([88.7, 88.72283])]
    )
    got = _apply(library, _EXP, x)
    assert _ulps(got, x.double().exp()).max() <= 2
    assert (got[x == 0] == 1).all()
    # Rising, as softmax needs it: a larger logit never weighs less by more than rounding.
    assert (got[1 : 1 << 20] >= got[: (1 << 20) - 1] * (1 - 2e-7)).all()


def test_exp_at_its_ends(library: ctypes.CDLL) -> None:
    ends = torch.tensor([-math.inf, -3e38, -104.0, -103.0, -90.0, -87.7, 88.73, 89.0, 3e38, math.inf])
    got = _apply(library, _EXP, ends)
    assert (got[:6] == 0).all() and (got[6:] == math.inf).all()
    near = torch.linspace(-87.7, -86.98, 1001)
    assert (_apply(library, _EXP, near).double() - near.double().exp()).abs().max() < 2 * _NORMAL
    assert 0 <= float(_apply(library, _EXP, torch.tensor([-87.4]))) < _NORMAL
    assert _apply(library, _EXP, torch.tensor([0.0, math.nan, -math.nan]))[1:].isnan().all()


def test_sigmoid(library: ctypes.CDLL) -> None:
    x = torch.linspace(-87, 87, 1 << 18)
    assert _ulps(_apply(library, _SIGMOID, x), x.double().sigmoid()).max() <= 4
    got = _apply(library, _SIGMOID, torch.tensor([-math.inf, -200.0, 200.0, math.inf, math.nan, 0.0]))
    assert got[:4].tolist() == [0, 0, 1, 1] and got[4].isnan() and got[5] == 0.5


def test_round_and_power_of_two(library: ctypes.CDLL) -> None:
    halves = torch.arange(-300, 301) / 4
    large = torch.tensor([2.0**22 + 0.5, 2.0**22 - 0.5, 2.0**23 - 0.5, 2.0**23 + 1, 1e30, -1e30, math.inf, -math.inf])
    below = torch.nextafter(torch.tensor([0.5, 1.5, -2.5]), torch.tensor(0.0))
    x = torch.cat([halves, large, -large, below])
    got = _apply(library, _ROUND, x)
    assert torch.equal(got, x.round()) and torch.equal(got.signbit(), x.round().signbit())
    assert _apply(library, _ROUND, torch.tensor([math.nan])).isnan().all()
    n = torch.arange(-200, 129).float()
    want = torch.where(n < -126, 0.0, torch.exp2(n.double())).float()
    assert torch.equal(_apply(library, _POWER, n), want) and want[-1] == math.inf


def _pairs() -> tuple[Tensor, Tensor]:
    few = torch.tensor([0.0, 1.0, -1.0, 3.5, -1e30, 1e30, math.inf, -math.inf, math.nan])
    a, b = (x.flatten() for x in torch.meshgrid(few, few, indexing="ij"))
    noise = torch.randn(2, 4096)
    return torch.cat([a, noise[0]]), torch.cat([b, noise[1]])


@pytest.mark.parametrize(("what", "meaning"), [(_MAX, torch.gt), (_MIN, torch.lt)])
def test_max_and_min_give_the_second_where_either_is_no_number(
    library: ctypes.CDLL, what: int, meaning: Callable[..., Tensor]
) -> None:
    a, b = _pairs()
    torch.testing.assert_close(
        _apply(library, what, a, b), torch.where(meaning(a, b), a, b), rtol=0, atol=0, equal_nan=True
    )


def test_arithmetic(library: ctypes.CDLL) -> None:
    a, b = _pairs()
    for what, want in ((_ADD, a + b), (_SUB, a - b), (_MUL, a * b), (_DIV, a / b)):
        torch.testing.assert_close(_apply(library, what, a, b), want, rtol=0, atol=0, equal_nan=True)
    a, b = torch.randn(2, 4096)
    error = (_apply(library, _FMA, a, b).double() - (a.double() * b.double() - 1)).abs()
    assert (error <= 2.0**-24 * ((a * b).abs() + 1 + (a * b - 1).abs())).all()


def test_sum_and_largest_see_every_lane(library: ctypes.CDLL) -> None:
    lanes = library.check_lanes()
    assert lanes in (4, 8, 16)
    rows = torch.randn(64, lanes)
    # One number in one lane at a time: it must be the largest, and be in the sum.
    rows = torch.cat([rows, 7 * torch.eye(lanes), 5 * torch.eye(lanes) - 9])
    total = _apply(library, _SUM, rows.flatten()).view(-1, lanes)
    assert ((total[:, 0].double() - rows.double().sum(1)).abs() <= lanes * 2e-7 * rows.abs().sum(1)).all()
    largest = _apply(library, _LARGEST, rows.flatten()).view(-1, lanes)
    assert torch.equal(largest, rows.max(1, keepdim=True).values.expand_as(rows))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_floats_both_ways(library: ctypes.CDLL, dtype: torch.dtype) -> None:
    """Every value there is; then every value, every middle between two, and both neighbours of each middle, back."""
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)
    wide = torch.empty(every.numel())
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in (wide, every)]
    library.check_widen(int(dtype == torch.float16), *pointers, ctypes.c_int64(every.numel()))
    torch.testing.assert_close(wide, every.float(), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(wide.signbit(), every.float().signbit())
    known = wide[wide.isfinite()].double().unique()
    middles = ((known[1:] + known[:-1]) / 2).float()
    beyond = torch.tensor([65519.99, 65520.0, 65536.0, 3.3e38, 3.4e38, math.inf, math.nan, 1e-8, 2.0**-25, 1e-45])
    up, down = (torch.nextafter(middles, torch.tensor(end)) for end in (math.inf, -math.inf))
    bits = torch.randint(-(1 << 31), 1 << 31, (1 << 16,)).to(torch.int32).view(torch.float32)
    x = torch.cat([wide, middles, up, down, beyond, -beyond, bits])
    x = x[: x.numel() // 16 * 16].contiguous()
    out = torch.zeros(x.numel(), dtype=dtype)
    pointers = [ctypes.c_void_p(y.data_ptr()) for y in (out, x)]
    library.check_narrow(int(dtype == torch.float16), *pointers, ctypes.c_int64(x.numel()))
    want = x.to(dtype)
    same = (out.view(torch.int16) == want.view(torch.int16)) | (out.isnan() & want.isnan())
    assert same.all(), (x[~same][:5], out[~same][:5], want[~same][:5])


def test_transpose(library: ctypes.CDLL) -> None:
    lanes = library.check_lanes()
    x = torch.arange(3.0 * lanes * lanes).view(3, lanes, lanes)
    out = torch.zeros_like(x)
    library.check_transpose(*(ctypes.c_void_p(y.data_ptr()) for y in (out, x)), ctypes.c_int64(x.numel()))
    assert torch.equal(out, x.transpose(1, 2))


@pytest.mark.parametrize("level", _LEVELS)
def test_part_of_a_vector_at_the_end_of_memory(path: Path, level: str) -> None:
    """In a process of its own: one element too far is a segmentation fault."""
    code = subprocess.run([sys.executable, "-c", _EDGE, str(path), str(_LEVELS[level])]).returncode
    if code == 127:
        pytest.skip(f"NOT RUN: this processor has no {level}")
    assert code == 0
