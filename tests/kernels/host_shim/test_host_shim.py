"""csrc/host_shim runs CUDA kernels as a device would, and faults show."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_REFUSED, _TOO_MUCH, _FAULT = 9, 1, 719


def _block_sums(kernels: Any, broken: bool) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).integers(-50, 50, (5, 256)).astype(np.float32)
    out = np.zeros(5, np.float32)
    assert kernels("block_sum", out, values, 5, broken) == 0
    return out, values.sum(1)


def test_shuffles_and_shared_memory_add_up(kernels: Any) -> None:
    out, wanted = _block_sums(kernels, broken=False)
    np.testing.assert_array_equal(out, wanted)


def test_a_missing_barrier_between_warps_is_seen(library: Any) -> None:
    library.order("forward")
    out, wanted = _block_sums(library, broken=True)
    assert np.isnan(out).all() and np.isfinite(wanted).all()


def _ring(kernels: Any, broken: bool, threads: int = 80) -> bool:
    out = np.zeros((3, threads), np.int32)
    assert kernels("ring", out, 3, threads, 7, broken) == 0
    return bool((out == (np.arange(threads) + 7) % threads).all())


def test_rounds_with_two_barriers(kernels: Any) -> None:
    assert _ring(kernels, broken=False)


def test_a_missing_barrier_before_the_next_write_is_seen(kernels: Any) -> None:
    assert not _ring(kernels, broken=True)


def test_a_missing_warp_barrier_is_seen(library: Any) -> None:
    seen = {}
    for order in ("forward", "reverse"):
        library.order(order)
        right, seen[order] = np.zeros(32, np.int32), np.zeros(32, np.int32)
        assert library("warp_share", right, False) == 0 and (right == 7).all()
        assert library("warp_share", seen[order], True) == 0
    assert (seen["forward"] == 7).all()
    assert (seen["reverse"] == [7] + [-1] * 31).all()


def test_shuffles_and_votes(kernels: Any) -> None:
    out, lane = np.zeros((32, 8), np.int32), np.arange(32)
    assert kernels("warp_words", out) == 0
    wanted = [
        lane // 8 * 8 + 5,
        np.where(lane % 16 < 3, lane, lane - 3),
        np.where(lane % 16 > 12, lane, lane + 3),
        lane ^ 9,
        np.full(32, sum(1 << i for i in range(0, 32, 3)), np.uint32).view(np.int32),
        np.full(32, 1),
        np.full(32, 1),
        np.where(lane < 16, 2, 30),
    ]
    np.testing.assert_array_equal(out, np.stack(wanted, 1))


@pytest.mark.parametrize(
    "kind, words",
    [(0, "40 threads have returned"), (1, "waits for lanes ffffffff"), (2, "different barriers")],
)
def test_a_barrier_that_threads_miss_is_an_error(
    kernels: Any, capfd: pytest.CaptureFixture[str], kind: int, words: str
) -> None:
    assert kernels("faulty_barrier", np.zeros(64, np.int32), kind) == _FAULT
    assert words in kernels.fault() and capfd.readouterr().err == f"host shim: {kernels.fault()}\n"
    assert kernels("faulty_barrier", np.zeros(64, np.int32), 3) == 0 and kernels.fault() == ""


def test_three_dimensions(kernels: Any) -> None:
    out = np.zeros((6, 6, 8), np.int32)
    assert kernels("write_places", out) == 0
    z, y, x = np.indices(out.shape)
    np.testing.assert_array_equal(out, x + 100 * y + 10000 * z)


def test_every_block_finds_shared_memory_poisoned(kernels: Any) -> None:
    out = np.zeros((3, 2), np.uint32)
    assert kernels("look_at_shared", out, 3) == 0
    assert (out == 0xFFFFFFFF).all()


def test_writing_beyond_shared_memory_is_an_error(forward: Any) -> None:
    assert forward("write_beyond", 40, 39) == 0
    assert forward("write_beyond", 40, 40) == _FAULT and "beyond" in forward.fault()


def test_launches_that_a_device_refuses(forward: Any) -> None:
    out = np.zeros(32, np.int32)
    assert forward("ring", out, 1, 1025, 1, False) == _REFUSED
    assert forward("ring", out, 0, 32, 1, False) == _REFUSED
    assert forward("ring_with_much_shared", out, 50_000, False) == _TOO_MUCH
    assert forward("ring_with_much_shared", out, 50_000, True) == 0 and (out == (np.arange(32) + 2) % 32).all()
    assert forward("ring_with_much_shared", out, 200_000, True) == _TOO_MUCH


def _copies(kernels: Any, early: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, out = np.arange(1, 33, dtype=np.float32).reshape(2, 16), np.zeros((2, 16), np.float32)
    assert kernels("copy_late", out, values, early, 0) == 0
    second = values[1].copy()
    second[3::4] = 0
    return out, values[0], second


def test_asynchronous_copies_arrive_when_waited_for(kernels: Any) -> None:
    out, first, second = _copies(kernels, 0)
    np.testing.assert_array_equal(out, [first, second])
    out, first, _ = _copies(kernels, 1)
    np.testing.assert_array_equal(out[0], first)
    assert np.isnan(out[1]).all()
    assert np.isnan(_copies(kernels, 2)[0]).all()


def test_misaligned_asynchronous_copies_are_an_error(forward: Any) -> None:
    arrays = np.zeros(32, np.float32), np.zeros(32, np.float32)
    assert forward("copy_late", *arrays, 0, 1) == _FAULT and "misaligned" in forward.fault()


def _product(kernels: Any, half: bool, rows: tuple[bool, bool], broken: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    a, b, c = random.standard_normal((3, 16, 16)).astype(np.float32)
    raw = []
    for matrix, by_rows in zip((a, b), rows, strict=True):
        # Cut to 8 significant bits, which both types hold exactly.
        matrix.view(np.uint32)[...] &= 0xFFFF0000
        wide = np.ascontiguousarray(matrix if by_rows else matrix.T)
        raw.append(wide.astype(np.float16).view(np.uint16) if half else (wide.view(np.uint32) >> 16).astype(np.uint16))
    buffers = [_aligned(array) for array in (np.zeros((16, 16), np.float32), raw[0], raw[1], c)]
    assert kernels("product", *buffers, half, *rows, broken) == 0
    return buffers[0].T, 2 * (a.astype(np.float64) @ b + c)


def _aligned(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 32
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("rows", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("half", [True, False])
def test_matrix_products(kernels: Any, half: bool, rows: tuple[bool, bool]) -> None:
    out, wanted = _product(kernels, half, rows, broken=False)
    np.testing.assert_allclose(out, wanted, rtol=0, atol=2e-5)


def test_a_missing_warp_barrier_before_a_product_is_seen(kernels: Any) -> None:
    assert np.isnan(_product(kernels, True, (True, True), broken=True)[0]).any()


def test_a_misaligned_matrix_is_an_error(forward: Any) -> None:
    d, a, b, c = (_aligned(np.zeros(300, np.float32)) for _ in range(4))
    assert forward("product", d, a, b, c[1:], 1, 1, 1, 0) == _FAULT and "32-byte" in forward.fault()


def test_the_identity_kernel_runs(kernels: Any) -> None:
    values = np.random.default_rng(4).standard_normal((2, 5, 7, 3)).astype(np.float32)
    view, out = values.transpose(0, 2, 1, 3), np.zeros((2, 7, 5, 3), np.float32)
    numbers = [*view.shape, *(stride // 4 for stride in view.strides), 4, 0]
    addresses = [out.ctypes.data, values.ctypes.data]
    assert kernels.dll.eamfmeg_identity_cuda(*(ctypes.c_int64(number) for number in addresses + numbers)) == 0
    np.testing.assert_array_equal(out, view)


@pytest.mark.slow
def test_runs_clean_under_sanitizers(root: Path, tmp_path: Path) -> None:
    """The fibers' own stacks must not look like faults, and a misaligned float4 must."""
    main = tmp_path / "main.cu"
    main.write_text(_MAIN)
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("NOT RUN: no g++")
    includes = [f"-I{root / 'csrc/host_shim'}", f"-I{root / 'csrc'}", "-x", "c++"]
    files = [str(root / "tests/kernels/host_shim/kernels.cu"), str(main)]
    program = str(tmp_path / "main")
    subprocess.run([compiler, "-std=c++17", "-O1", *flags, *includes, *files, "-o", program], check=True)
    clean = subprocess.run([program], capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr[-2000:]
    faulty = subprocess.run([program, "misaligned"], capture_output=True, text=True)
    assert faulty.returncode != 0 and "misaligned address" in faulty.stderr


_MAIN = """
#include "common/launch.h"
extern "C" int shim_ring(int* out, int blocks, int threads, int rounds, int broken);
extern "C" int shim_block_sum(float* out, const float* in, int blocks, int broken);
extern "C" int shim_faulty_barrier(int* out, int kind);
__global__ void load(float* out, const float* in) { out[0] = reinterpret_cast<const float4*>(in)->y; }
int main(int count, char**) {
    static int cells[256];
    alignas(16) static float in[512], out[2];
    if (count > 1) EAMFMEG_LAUNCH(load, 1, 1, 0, nullptr, out, in + 1);
    const bool right = shim_ring(cells, 1, 256, 3, 0) == 0 && shim_block_sum(out, in, 2, 0) == 0;
    return right && shim_faulty_barrier(cells, 1) != 0 && shim_ring(cells, 1, 256, 3, 0) == 0 ? 0 : 1;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_takes_the_same_kernels(root: Path, tmp_path: Path, architecture: str) -> None:
    """Otherwise the shim would accept what CUDA refuses."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("NOT RUN: no nvcc")
    flags = ["-std=c++17", f"-arch={architecture}", f"-I{root / 'csrc'}", "-Werror=all-warnings"]
    kernels = root / "tests/kernels/host_shim/kernels.cu"
    subprocess.run([nvcc, *flags, "-c", str(kernels), "-o", str(tmp_path / "kernels.o")], check=True)
