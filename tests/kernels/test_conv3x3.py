"""What is special about conv3x3: exact matrices, lists of squares, sums in place, faults in both kinds of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import BackendError, DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.conv3x3 import OP, conv3x3, pack_conv3x3, scratch_floats
from eamfmeg_fast.kernels.conv3x3.native import conv3x3_cpu
from eamfmeg_fast.kernels.conv3x3.reference import conv3x3 as conv3x3_reference
from eamfmeg_fast.kernels.conv3x3.reference import direct, matrices
from eamfmeg_fast.kernels.conv3x3.samples import MUTANTS, sized
from eamfmeg_fast.kernels.mutants import count
from eamfmeg_fast.kernels.registry import Room, Sample
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import Guarded, Judgement, compare, judge, upcast

_PRODUCTS = ("float32", "bfloat16")
# Of a scratch, for 5 and 6 channels: 16 + 32 floats for each of 14 tiles.
_LEAST = 36 * (14 * 48 + 32) + 16


@pytest.fixture(params=[0, 1, 2], ids=["portable", "avx2", "avx512"])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    if library("_C").limit_isa(request.param) != request.param:
        pytest.skip("NOT RUN: this processor has fewer vector instructions")
    yield
    library("_C").limit_isa(-1)


def _block(*sizes: int, products: str = "float32", seed: int = 1) -> tuple[Any, ...]:
    """A call of sizes B, H, W, C, O that uses everything."""
    batch, height, width, inner, outer = sizes
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, height, width, inner), (outer, inner, 3, 3), (outer,), (inner,), (inner,))
    features, weight, bias, scale, shift = (torch.randn(shape, generator=generator) for shape in shapes)
    residual = torch.randn(batch, height, width, outer, generator=generator)
    return features, weight / (9 * inner) ** 0.5, bias, scale.abs() + 0.5, shift, residual, True, products


def _squares(args: tuple[Any, ...], chosen: Callable[[int], bool], tile: int = 8) -> Tensor:
    batch, height, width, _ = args[0].shape
    return torch.tensor([i for i in range(batch * height * width // tile**2) if chosen(i)], dtype=torch.int32)


def _mask(args: tuple[Any, ...], squares: Tensor, tile: int = 8) -> Tensor:
    """Pixels of the squares, `[B, H, W]`."""
    batch, height, width, _ = args[0].shape
    flat = torch.zeros(batch * (height // tile) * (width // tile), dtype=torch.bool)
    flat[squares.long()] = True
    grid = flat.view(batch, height // tile, width // tile)
    return grid.repeat_interleave(tile, 1).repeat_interleave(tile, 2)


def test_the_matrices_are_those_of_the_points() -> None:
    """Written out once by hand, with p^2 + q^2 = 169/64 and p^2 q^2 = 225/256."""
    at, g, bt = matrices()
    assert bt[0] == [225 / 256, 0, -169 / 64, 0, 1, 0] and bt[5] == [0, 225 / 256, 0, -169 / 64, 0, 1]
    assert bt[1] == [0, -45 / 32, -9 / 4, 5 / 8, 1, 0] and bt[4] == [0, 75 / 128, -25 / 64, -3 / 2, 1, 0]
    assert at[3] == [0, 125 / 512, -125 / 512, 27 / 8, -27 / 8, 1]
    assert g[0] == [256 / 225, 0, 0] and g[5] == [0, 0, 1]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 5, 7, 3, 4), (1, 8, 12, 33, 17), (1, 20, 20, 128, 64)])
def test_in_float64_the_reference_is_the_convolution(sizes: tuple[int, ...]) -> None:
    features, weight, bias, scale, shift, residual, *_ = map(upcast, _block(*sizes))
    plain = torch.relu(features * scale + shift).permute(0, 3, 1, 2)
    want = torch.relu(F.conv2d(plain, weight, bias, padding=1)).permute(0, 2, 3, 1) + residual
    for function in (conv3x3_reference, direct, conv3x3):
        got = function(features, weight, bias, scale, shift, residual, True, "bfloat16")
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got = conv3x3(features, weight, None, None, None, None, False, "float32")
    want = F.conv2d(features.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_how_much_accuracy_the_fewer_products_cost() -> None:
    """At most eight times the error of a direct convolution in float32, and six times that of one in bfloat16."""
    args = _block(1, 24, 24, 128, 64)
    want = direct(*map(upcast, args))

    def rms(got: Tensor) -> float:
        return float((got - want).square().mean().sqrt())

    features, weight, *rest = args
    assert rms(conv3x3(*args)) <= 8 * rms(direct(*args))
    plain = torch.relu(features * rest[1] + rest[2]).bfloat16().float()
    rounded = direct(plain, weight.bfloat16().float(), rest[0], None, None, *rest[3:])
    assert rms(conv3x3(*args[:7], "bfloat16")) <= 6 * rms(rounded)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", _PRODUCTS)
@pytest.mark.parametrize("tile", [4, 8, 12])
def test_a_list_of_squares_writes_them_and_nothing_else(tile: int, products: str) -> None:
    """The same bytes as without the list, for one thread and two; the rest stays as it was."""
    args = _block(2, 24, 48, 35, 40, products=products)
    dense = torch.empty_like(args[5])
    conv3x3_cpu(dense, *args)
    before = torch.get_num_threads()
    try:
        for chosen in (lambda i: i % 3 == 1, lambda i: i == 0, lambda i: True, lambda i: False):
            squares = _squares(args, chosen, tile)
            mask = _mask(args, squares, tile)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                out = Guarded(tuple(dense.shape), dense.dtype)
                conv3x3_cpu(out.tensor, *args, tiles=squares, tile=tile)
                assert torch.equal(out.tensor[mask], dense[mask])
                assert bool(out.tensor[~mask].isnan().all()) and not out.trespass()
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", _PRODUCTS)
def test_neither_chunks_nor_packing_nor_the_place_change_a_byte(products: str) -> None:
    """One strip at a time or everything, packed before or not, into the residual or beside it."""
    args = _block(1, 33, 30, 40, 50, products=products)
    want = torch.empty_like(args[5])
    conv3x3_cpu(want, *args)
    packed = pack_conv3x3(args[1], products)
    assert packed.data_ptr() % 64 == 0
    whole = scratch_floats((1, 33, 30), 40, 50, products)
    for floats in (whole, scratch_floats((1, 4, 4), 40, 50, products) + 3, whole // 2):
        # Neither is memory that was used before, nor its address.
        scratch = torch.full((floats + 1,), torch.nan)[1:]
        place = args[5].clone()
        conv3x3_cpu(place, *args[:5], place, *args[6:], packed=packed, scratch=scratch)
        assert torch.equal(place, want)


@pytest.mark.parametrize("products", _PRODUCTS)
def test_products_in_float32_mean_the_same(products: str) -> None:
    """A processor without products of bfloat16 multiplies what was rounded in float32."""
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    args = _block(1, 18, 20, 37, 35, products=products)
    out = Guarded(tuple(args[5].shape), torch.float32)
    conv3x3_cpu(out.tensor, *args, own_products=False)
    verdict = compare(out.tensor, conv3x3_reference(*args), conv3x3_reference(*map(upcast, args)))
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize("products", _PRODUCTS)
def test_bfloat16_products_are_rounded_and_float32_ones_are_not(products: str) -> None:
    """The error tells which it was, and two of one kind lie nearer to one another than to the truth."""
    args = _block(1, 8, 8, 64, 32, products=products)
    want, plain = direct(*map(upcast, args)), conv3x3_reference(*args)
    error = float((conv3x3(*args) - want).abs().max())
    assert (error > 1e-3) == (products == "bfloat16")
    assert float((conv3x3(*args) - plain).abs().max()) < max(error, 1e-5)


@pytest.mark.parametrize("tiled", [False, True], ids=["dense", "squares"])
@pytest.mark.parametrize("products", _PRODUCTS)
def test_faults_are_caught_in_both_kinds_of_products(products: str, tiled: bool, faulty_library: SideLibrary) -> None:
    """Each planted fault shows with each type alone, and where only squares are written."""
    sizes = [(2, 8, 16, 19, 37), (1, 16, 8, 3, 2)]
    calls = [Sample(f"{size}", _block(*size, products=products)) for size in sizes]

    def into(out: Tensor, *args: Any, **switches: Any) -> None:
        conv3x3_cpu(out, *args, **switches, tiles=_squares(args, lambda i: True) if tiled else None)

    room = Room("cpu", lambda: "", into, MUTANTS)

    def run(sample: Sample, number: int) -> Judgement:
        return judge(OP, room, sample, lib=faulty_library.with_mutant(number))

    found = count(room, calls, run)
    assert found.planted == len(MUTANTS) and not found.survivors and not found.false_alarms


@pytest.mark.parametrize(
    ("weight", "products", "error", "said"),
    [
        (torch.zeros(2, 3, 3), "float32", ShapeError, "[2, 3, 3]"),
        (torch.zeros(2, 3, 5, 5), "float32", ShapeError, "[2, 3, 5, 5]"),
        (torch.zeros(0, 3, 3, 3), "float32", ShapeError, "[0, 3, 3, 3]"),
        (torch.zeros(2, 3, 3, 3).double(), "float32", DtypeError, "float64"),
        (torch.zeros(2, 3, 3, 3, device="meta"), "float32", BackendError, "meta"),
        (torch.zeros(2, 3, 3, 3), "int8", OptionError, "int8"),
    ],
    ids=["rank", "kernel size", "empty", "type", "device", "products"],
)
def test_packing_refuses(weight: Tensor, products: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        pack_conv3x3(weight, products)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("switches", "error", "said"),
    [
        ({"tiles": torch.zeros(1, dtype=torch.int64)}, DtypeError, "int64"),
        ({"tiles": torch.zeros(1, dtype=torch.int32), "tile": 6}, ShapeError, "squares of 6"),
        ({"tiles": torch.zeros(1, dtype=torch.int32), "tile": 16}, ShapeError, "squares of 16"),
        ({"tiles": torch.tensor([8, 9], dtype=torch.int32)}, ShapeError, "8 to 9"),
        ({"packed": torch.zeros(1, dtype=torch.bfloat16)}, DtypeError, "bfloat16"),
        ({"scratch": torch.zeros(1 << 16, dtype=torch.float64)}, DtypeError, "float64"),
        ({"packed": pack_conv3x3(torch.zeros(33, 5, 3, 3), "float32")}, ShapeError, "packed"),
        ({"packed": pack_conv3x3(torch.zeros(6, 17, 3, 3), "float32")}, ShapeError, "packed"),
        ({"scratch": torch.zeros(_LEAST - 1)}, ShapeError, f"at least {_LEAST} floats"),
        ({"scratch": torch.zeros(2 * _LEAST)[::2]}, ShapeError, "contiguous"),
        ({"scratch": torch.zeros(_LEAST, device="meta")}, BackendError, "meta"),
    ],
    ids=[
        "type of the list",
        "square of 6",
        "square of 16",
        "beyond the map",
        "other products",
        "type of the scratch",
        "packed for more outputs",
        "packed for more inputs",
        "small scratch",
        "every second float",
        "scratch elsewhere",
    ],
)
def test_the_room_refuses(switches: dict[str, Any], error: type[Exception], said: str) -> None:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    args = _block(1, 24, 24, 5, 6)
    with pytest.raises(error, match=said):
        conv3x3_cpu(torch.empty_like(args[5]), *args, **switches)


@pytest.mark.usefixtures("_level")
def test_the_smallest_scratch_is_enough_from_any_address() -> None:
    args = _block(1, 24, 24, 5, 6)
    want, memory = torch.empty_like(args[5]), torch.empty(_LEAST + 16)
    conv3x3_cpu(want, *args)
    for first in range(16):
        out = torch.empty_like(want)
        conv3x3_cpu(out, *args, scratch=memory[first : first + _LEAST])
        assert torch.equal(out, want)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", _PRODUCTS)
def test_a_nan_reaches_its_tile_and_what_sees_it(products: str) -> None:
    features, weight = torch.ones(1, 12, 12, 2), torch.ones(3, 2, 3, 3)
    for y, x in ((5, 6), (4, 7), (8, 3)):
        features[0, y, x, 1] = float("nan")
        want = torch.zeros(12, 12, dtype=torch.bool)
        want[y - y % 4 : y - y % 4 + 4, x - x % 4 : x - x % 4 + 4] = True
        # Its own rows are whole in the tiles beside, and so are the columns.
        rows, columns = want.any(1), want.any(0)
        rows[y - 1 : y + 2], columns[x - 1 : x + 2] = True, True
        got = conv3x3(features, weight, None, None, None, None, False, products).isnan()
        assert torch.equal(got[0, ..., 0], rows[:, None] & columns) and torch.equal(got.any(3), got.all(3))
        features[0, y, x, 1] = 1.0


def test_a_gpu_runs_the_vendor_s_convolution() -> None:
    """There is no room for one, and what runs instead satisfies the rule for both products."""
    assert set(OP.rooms) == {"cpu"}
    for products in _PRODUCTS:
        args = _block(1, 9, 10, 12, 14, products=products)
        verdict = compare(direct(*args), conv3x3_reference(*args), conv3x3_reference(*map(upcast, args)))
        assert verdict.passed, verdict.reason


def test_sized_calls_use_all_there_is() -> None:
    """Property tests draw the seed: over a few of them each argument comes and goes, and so does each product."""
    calls = [sized(1, 2, 2, 2, torch.float32, seed).args for seed in range(48)]
    for place in range(2, 8):
        assert len({str(call[place]) if place > 5 else call[place] is None for call in calls}) == 2, place
