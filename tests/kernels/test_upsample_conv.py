"""What is special about upsample_conv: exact sums, packed kernels, and numbers that differences are too large for."""

from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendError, DtypeError, ShapeError
from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.triton_build import interpreting
from eamfmeg_fast.kernels.upsample_conv import OP, pack_phases, upsample_conv
from eamfmeg_fast.kernels.upsample_conv.native import upsample_conv_cpu
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv as upsample_conv_reference


@pytest.fixture(params=[0, 1, 2], ids=["portable", "avx2", "avx512"])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    if library("_C").limit_isa(request.param) != request.param:
        pytest.skip("NOT RUN: this processor has fewer vector instructions")
    yield
    library("_C").limit_isa(-1)


def _whole(*shape: int, seed: int) -> Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3, 43, 5, 33), (1, 6, 2, 130, 49), (1, 44, 87, 17, 3)])
def test_whole_numbers_come_out_exactly(sizes: tuple[int, ...]) -> None:
    """Sums and differences of small whole numbers have no rounding error: the nine products are the convolution."""
    batch, height, width, inner, outer = sizes
    features, bias = _whole(batch, height, width, inner, seed=1), _whole(outer, seed=3)
    weight = _whole(outer, inner, 3, 3, seed=2)
    want = upsample_conv_reference(features.double(), weight.double(), bias.double())
    assert torch.equal(upsample_conv(features, weight, bias).double(), want)


@pytest.mark.usefixtures("_level")
def test_the_border_sees_zeros() -> None:
    """With ones everywhere an output counts the taps inside the picture: 9, 6 on an edge, 4 in a corner."""
    counted = upsample_conv(torch.ones(1, 3, 4, 1), torch.ones(1, 1, 3, 3), None)[0, :, :, 0]
    along = [torch.tensor([2.0] + [3.0] * (n - 2) + [2.0]) for n in counted.shape]
    assert torch.equal(counted, along[0][:, None] * along[1][None, :])


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_packing_once_changes_nothing(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    features, weight, bias = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((1, 4, 5, 20), (50, 20, 3, 3), (50,))
    )
    packed = pack_phases(weight)
    assert packed.dtype == torch.float32 and packed.data_ptr() % 64 == 0
    assert packed.numel() == 64 * 20 * 9
    out = torch.empty(1, 8, 10, 50, dtype=dtype)
    for _ in range(2):
        upsample_conv_cpu(out, features, weight, bias, packed=packed)
        assert torch.equal(out, upsample_conv(features, weight, bias))


@pytest.mark.usefixtures("_level")
def test_infinities_that_meet_are_what_the_definition_gives() -> None:
    """Differences of infinities are no numbers; the outputs that see one must still be those of the convolution."""
    generator = torch.Generator().manual_seed(5)
    features, weight, bias = (torch.randn(s, generator=generator) for s in ((1, 6, 7, 3), (4, 3, 3, 3), (4,)))
    features[0, 1, 2, 0] = math.inf
    features[0, 4, 6, 1] = -math.inf
    features[0, 4, 5, 2] = math.inf
    got, want = upsample_conv(features, weight, bias), upsample_conv_reference(features, weight, bias)
    assert {float(x) for x in want[want.isinf()]} == {math.inf, -math.inf} and bool(want.isnan().any())
    torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize(("size", "tap"), [(3e38, 0.01), (1.6e38, 0.5)], ids=["differences", "their products"])
@pytest.mark.parametrize("axis", [1, 2])
def test_what_only_differences_make_infinite_stays_finite(size: float, tap: float, axis: int) -> None:
    """Neighbours of opposite sign: the convolution adds small products, the nine products go beyond float32."""
    features = torch.tensor([size, -size]).reshape([1, 2, 1, 1] if axis == 1 else [1, 1, 2, 1])
    weight = torch.full((1, 1, 3, 3), tap)
    want = upsample_conv_reference(features.double(), weight.double(), None)
    got = upsample_conv(features, weight, None)
    assert bool(want.abs().max() < torch.finfo(torch.float32).max) and bool(got.isfinite().all())
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("width", [42, 43])
def test_only_features_decide_whether_outputs_are_summed_again(width: int) -> None:
    """A narrower last tile must not see the infinities that another call has left in the memory it gets.

    Infinite kernels behind finite packed ones tell: only outputs that are summed again read them, and 0 * inf is NaN.
    """
    finite, bias = torch.zeros(32, 16, 3, 3), torch.full((32,), math.inf)
    infinite, packed = torch.full_like(finite, math.inf), pack_phases(finite)
    before = torch.get_num_threads()
    try:
        # The second thread starts with the narrow tile.
        torch.set_num_threads(2)
        for _ in range(3):
            left = torch.full((2, 3, 42, 16), math.inf)
            upsample_conv_cpu(torch.empty(2, 6, 84, 32), left, finite, None, packed=packed)
            out = torch.empty(1, 6, 2 * width, 32)
            upsample_conv_cpu(out, torch.zeros(1, 3, width, 16), infinite, bias, packed=packed)
            assert bool((out == math.inf).all())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("default", ["type", "device"])
def test_packing_ignores_the_defaults_of_the_process(default: str) -> None:
    weight = torch.randn(3, 8, 3, 3, generator=torch.Generator().manual_seed(6))
    want, chosen = pack_phases(weight), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16) if default == "type" else torch.set_default_device("meta")
        packed = pack_phases(weight)
    finally:
        torch.set_default_dtype(chosen)
        torch.set_default_device(None)
    assert packed.dtype == torch.float32 and torch.equal(packed, want)


@pytest.mark.parametrize(
    ("weight", "error", "said"),
    [
        (torch.zeros(2, 3, 3), ShapeError, "[2, 3, 3]"),
        (torch.zeros(2, 3, 5, 5), ShapeError, "[2, 3, 5, 5]"),
        (torch.zeros(0, 3, 3, 3), ShapeError, "[0, 3, 3, 3]"),
        (torch.zeros(2, 3, 3, 3).double(), DtypeError, "float64"),
        (torch.zeros(2, 3, 3, 3, device="meta"), BackendError, "meta"),
    ],
    ids=["rank", "kernel size", "empty", "type", "device"],
)
def test_packing_refuses(weight: Tensor, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        pack_phases(weight)
    assert said in str(raised.value)


def test_memory_that_cannot_be_had_is_an_error() -> None:
    """Not the end of the process: one pixel of 2^45 channels, all at the same address."""
    if os.environ.get("EAMFMEG_SANITIZE") == "1":
        pytest.skip("NOT RUN: the address sanitizer ends the process where memory runs out")
    features, weight = torch.zeros(1).expand(1, 1, 1, 2**45), torch.zeros(1, 1, 1, 1).expand(1, 2**45, 3, 3)
    packed = torch.zeros(1).expand(32 * 9 * 2**45)
    with pytest.raises(ValueError, match="size"):
        upsample_conv_cpu(torch.empty(1, 2, 2, 1), features, weight, None, packed=packed)


def _spread(path: Path, offsets: list[int]) -> tuple[mmap.mmap, Tensor]:
    """A sparse file whose middle is float16 element 0, with 1, 2, 3... at `offsets` from there; and a tensor of it."""
    middle = 2**31 + 2**12
    with path.open("wb+") as file:
        file.truncate(4 * middle)
        memory = mmap.mmap(file.fileno(), 0)
    for i, offset in enumerate(offsets):
        torch.frombuffer(memory, dtype=torch.float16, count=1, offset=2 * (middle + offset))[0] = i + 1
    return memory, torch.frombuffer(memory, dtype=torch.float16, count=1, offset=2 * middle)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["features", "kernels"])
def test_triton_reaches_elements_two_to_the_31_away(kernel: str, tmp_path: Path) -> None:
    """Each stride fits 32 bits, twice the stride does not; a wrapped offset would read a zero."""
    pytest.importorskip("triton")
    if not interpreting():
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        name = f"test_triton_reaches_elements_two_to_the_31_away[{kernel}]"
        run = subprocess.run([*command, "-k", name], env=environment, capture_output=True, text=True)
        assert run.returncode == 0 and "1 passed" in run.stdout, run.stdout[-3000:]
        return
    from eamfmeg_fast.kernels.upsample_conv import triton_kernel as rooms

    far, half = 2**30, torch.float16
    if kernel == "features":
        _, first = _spread(tmp_path / "features", [0, far, 2 * far])
        out = torch.zeros(1, 2, 2, 1, dtype=half)
        folded, tile = torch.ones(16, 3, 1, dtype=half), {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16}
        rooms.upsample_conv_kernel[(4, 1)](
            out, first, folded, first, 1, 1, 1, 3, 1, 1, 1, 1, far, BIASED=False, WIDE=True, MUTANT=0, **tile
        )
        assert out.tolist() == torch.full((1, 2, 2, 1), 6.0).tolist()
    else:
        _, first = _spread(tmp_path / "kernels", [y * far + x for y in range(3) for x in range(3)])
        near = torch.arange(1.0, 10.0).to(half).reshape(1, 1, 3, 3)
        folded = torch.zeros(16, 1, 1, dtype=half)
        rooms.fold_kernel[(1,)](folded, first, 1, 1, 1, 1, far, 1, BLOCK=16, MUTANT=0)
        assert torch.equal(folded, rooms.fold_phases(near))
