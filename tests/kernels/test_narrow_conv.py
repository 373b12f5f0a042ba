"""What is special about narrow_conv: exact sums, packed kernels, and squares that are written alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.narrow_conv import OP, narrow_conv, pack_narrow
from eamfmeg_fast.kernels.narrow_conv.native import narrow_conv_cpu
from eamfmeg_fast.kernels.narrow_conv.reference import direct
from eamfmeg_fast.kernels.narrow_conv.reference import narrow_conv as narrow_conv_reference
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import Guarded, compare

TYPES = (torch.float32, torch.bfloat16)
SQUARES = [0, 2, 3, 5, 6, 10, 11]


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


def _map(dtype: torch.dtype, tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two images of 2 x 3 squares."""
    generator = torch.Generator().manual_seed(tile)
    shapes = ((2, 2 * tile, 3 * tile, 9), (3, 9, 7, 7), (3,))
    features, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return features.to(dtype), weight / 21, bias


def _inside(shape: torch.Size, tile: int, squares: list[int]) -> Tensor:
    """Which pixels lie in the squares."""
    _, height, width, _ = shape
    marks = torch.zeros(shape[0], height // tile, width // tile, dtype=torch.bool)
    marks.view(-1)[squares] = True
    return marks.repeat_interleave(tile, 1).repeat_interleave(tile, 2)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1, 1), (2, 3, 43, 5, 7, 5), (1, 36, 2, 131, 4, 3), (1, 6, 67, 17, 3, 7)]
)
def test_whole_numbers_come_out_exactly(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    """Products and sums of small whole numbers have no rounding error, of bfloat16 neither."""
    batch, height, width, inner, outer, side = sizes
    features, bias = _whole(batch, height, width, inner, seed=1), _whole(outer, seed=3)
    weight = _whole(outer, inner, side, side, seed=2)
    want = narrow_conv_reference(features.double(), weight.double(), bias.double())
    assert torch.equal(narrow_conv(features.to(dtype), weight, bias).double(), want)


@pytest.mark.usefixtures("_level")
def test_weights_are_rounded_for_bfloat16_and_the_bias_is_not() -> None:
    features, weight, bias = _map(torch.bfloat16, 8)
    want = narrow_conv(features.float(), weight.bfloat16().float(), bias)
    torch.testing.assert_close(narrow_conv(features, weight, bias), want, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("tile", [5, 32, 40])
@pytest.mark.parametrize("dtype", TYPES)
def test_squares_are_the_same_bytes_and_nothing_else_is_written(dtype: torch.dtype, tile: int) -> None:
    """With kernels that were packed once, and for one thread and two."""
    features, weight, bias = _map(dtype, tile)
    want = narrow_conv(features, weight, bias)
    packed = pack_narrow(weight, str(dtype).removeprefix("torch."))
    inside = _inside(features.shape, tile, SQUARES)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = Guarded(tuple(want.shape), torch.float32)
            tiles = torch.tensor(SQUARES, dtype=torch.int32)
            narrow_conv_cpu(out.tensor, features, weight, bias, packed=packed, tiles=tiles, tile=tile)
            assert torch.equal(out.tensor[inside], want[inside]) and out.trespass() == 0
            assert bool(out.tensor[~inside].isnan().all())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", TYPES)
def test_faults_are_caught_in_squares_too(dtype: torch.dtype, faulty_library: SideLibrary) -> None:
    features, weight, bias = _map(dtype, 8)
    inside = _inside(features.shape, 8, SQUARES)
    same, exact = (
        narrow_conv_reference(*args)[inside]
        for args in ((features, weight, bias), (features.double(), weight.double(), bias.double()))
    )

    def passes(number: int) -> bool:
        out = Guarded((*features.shape[:3], 3), torch.float32)
        options: dict[str, Any] = {"tiles": torch.tensor(SQUARES, dtype=torch.int32), "tile": 8}
        narrow_conv_cpu(out.tensor, features, weight, bias, faulty_library.with_mutant(number), **options)
        return compare(out.tensor[inside], same, exact).passed and not out.trespass()

    faults = range(1, len(OP.rooms["cpu"].mutants) + 1)
    assert passes(0) and not [number for number in faults if passes(number)]


def test_no_squares_write_nothing() -> None:
    features, weight, bias = _map(torch.float32, 4)
    out = Guarded((2, 8, 12, 3), torch.float32)
    narrow_conv_cpu(out.tensor, features, weight, bias, tiles=torch.empty(0, dtype=torch.int32), tile=4)
    assert bool(out.tensor.isnan().all()) and out.trespass() == 0


@pytest.mark.parametrize(
    ("tiles", "tile", "error", "said"),
    [
        (torch.tensor([0]), 4, DtypeError, "int64"),
        (torch.tensor([0], dtype=torch.int32), 5, ShapeError, "squares of 5 on 8 x 12"),
        (torch.tensor([0], dtype=torch.int32), 0, ShapeError, "squares of 0"),
        (torch.tensor([[0]], dtype=torch.int32), 4, ShapeError, "[1, 1]"),
        (torch.tensor([0, 12], dtype=torch.int32), 4, ShapeError, "0 to 11"),
        (torch.tensor([-1, 2], dtype=torch.int32), 4, ShapeError, "from -1"),
    ],
)
def test_squares_that_are_not_there_are_refused(tiles: Tensor, tile: int, error: type[Exception], said: str) -> None:
    features, weight, bias = _map(torch.float32, 4)
    with pytest.raises(error) as caught:
        narrow_conv_cpu(torch.empty(2, 8, 12, 3), features, weight, bias, tiles=tiles, tile=tile)
    assert said in str(caught.value)


def test_kernels_that_were_packed_from_another_weight_are_refused() -> None:
    features, weight, bias = _map(torch.bfloat16, 4)
    for packed, error in (
        (pack_narrow(weight[:, :7], "bfloat16"), ShapeError),
        (pack_narrow(weight[:2], "bfloat16"), ShapeError),
        (pack_narrow(weight, "float32"), DtypeError),
    ):
        with pytest.raises(error, match="packed"):
            narrow_conv_cpu(torch.empty(2, 8, 12, 3), features, weight, bias, packed=packed)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_gpu_runs_the_vendor_s_convolution_with_float32_as_it_is(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, conv2d, before = [], F.conv2d, torch.backends.cudnn.allow_tf32

    def watched(*args: Any, **options: Any) -> Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return conv2d(*args, **options)

    monkeypatch.setattr(F, "conv2d", watched)
    args = _map(dtype, 4)
    assert torch.equal(direct(*args), narrow_conv_reference(*args))
    assert seen[0] == (dtype == torch.bfloat16) and torch.backends.cudnn.allow_tf32 == before


def test_packing_refuses_what_is_no_kernel() -> None:
    with pytest.raises(OptionError, match="float16"):
        pack_narrow(torch.zeros(3, 3, 3, 3), "float16")
    with pytest.raises(ShapeError, match="O, C, K, K"):
        pack_narrow(torch.zeros(3, 3, 3), "float32")
