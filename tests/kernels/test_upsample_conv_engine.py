"""What an engine asks of upsample_conv on the CPU: products of bfloat16, relu, slices of a wider map, squares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.compiled import library, why_missing
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import Verdict, compare
from eamfmeg_fast.kernels.upsample_conv import pack_phases
from eamfmeg_fast.kernels.upsample_conv.native import upsample_conv_cpu
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv as upsample_conv_reference
from eamfmeg_fast.kernels.upsample_conv.samples import ENGINE_MUTANTS, MUTANTS

PRODUCTS = ["float32", "bfloat16"]
TYPES = [torch.float32, torch.bfloat16]
_POISON = 7.0e8


@pytest.fixture(params=[0, 1, 2], ids=["portable", "avx2", "avx512"])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    if reason := why_missing("_C"):
        pytest.skip(f"NOT RUN: {reason}")
    if library("_C").limit_isa(request.param) != request.param:
        pytest.skip("NOT RUN: this processor has fewer vector instructions")
    yield
    library("_C").limit_isa(-1)


def _call(*sizes: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    batch, height, width, inner, outer = sizes
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, height, width, inner, generator=generator).to(dtype)
    weight = torch.randn(outer, inner, 3, 3, generator=generator) / math.sqrt(9 * inner)
    return features, weight, torch.randn(outer, generator=generator)


def _nine_products(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The nine products of csrc/upsample_conv/upsample_conv.h, their factors rounded to bfloat16, summed in float32."""
    sums = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, -1]])
    pixels = torch.tensor([[0.0, 1, 0], [1, -1, 0], [0, 1, -1]])
    u = torch.einsum("ij,ocjk,lk->iloc", sums, weight, sums).bfloat16().float()
    near = F.pad(features.float(), (0, 0, 1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)
    v = torch.einsum("ij,bhwcjk,lk->ilbhwc", pixels, near, pixels).bfloat16().float()
    m = torch.einsum("iloc,ilbhwc->ilbhwo", u, v)
    shared = [m[0, 0] + m[0, 1 + b] for b in range(2)]
    rows = [torch.stack([shared[b] + m[1 + a, 0] + m[1 + a, 1 + b] for b in range(2)], 3) for a in range(2)]
    batch, height, width, _ = features.shape
    return torch.stack(rows, 2).reshape(batch, 2 * height, 2 * width, -1) + bias


def _judged(out: Tensor, args: tuple[Tensor, Tensor, Tensor], products: str, relu: bool) -> Verdict:
    exact = upsample_conv_reference(*(x.double() for x in args))
    features, weight, bias = (x.float() for x in args)
    plain = upsample_conv_reference(features, weight, bias)
    same = plain if products == "float32" else _nine_products(features, weight, bias)
    return compare(out, same.clamp(min=0 if relu else -math.inf).to(out.dtype), exact.clamp(min=0) if relu else exact)


def _guarded(args: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype, slack: int) -> tuple[Tensor, Tensor]:
    """Memory full of a number that no output is, and an output of it: channels in the middle where there is slack."""
    (batch, height, width, _), outer = args[0].shape, args[1].shape[0]
    memory = torch.full((batch * 2 * height + 2, 2 * width, outer + slack), _POISON).to(dtype)
    out = memory[1:-1].view(batch, 2 * height, 2 * width, outer + slack)[..., slack // 2 : slack // 2 + outer]
    return memory, out.fill_(math.nan)


def _untouched(memory: Tensor, out: Tensor, slack: int) -> bool:
    """Only `out` has changed."""
    poison = torch.tensor(_POISON).to(memory.dtype)
    return int((memory == poison).sum()) == memory.numel() - out.numel()


SIZES = [(2, 5, 7, 19, 37), (1, 2, 2, 300, 16), (1, 3, 43, 33, 5), (1, 1, 1, 1, 1), (1, 4, 4, 64, 64)]


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("into", TYPES, ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_products_types_relu_and_slices(dtype: torch.dtype, into: torch.dtype, products: str) -> None:
    """The error rule for each pair of types, against the reference of the same products; nothing else is written."""
    for i, sizes in enumerate(SIZES):
        args, slack, relu = _call(*sizes, dtype=dtype, seed=i), 6 * (i % 2), i % 3 > 0
        memory, out = _guarded(args, into, slack)
        upsample_conv_cpu(out, *args, packed=pack_phases(args[1], products), relu=relu)
        verdict = _judged(out, args, products, relu)
        assert verdict.passed, f"{sizes}: {verdict.reason}"
        assert _untouched(memory, out, slack), sizes


@pytest.mark.usefixtures("_level")
def test_whole_numbers_are_exact_in_bfloat16() -> None:
    """Sums of nine and differences of small whole numbers need no more than eight bits."""
    generator = torch.Generator().manual_seed(2)
    features, weight = (torch.randint(-8, 9, s, generator=generator).float() for s in ((2, 3, 45, 37), (33, 37, 3, 3)))
    bias, out = torch.arange(33.0), torch.empty(2, 6, 90, 33)
    upsample_conv_cpu(out, features, weight, bias, packed=pack_phases(weight, "bfloat16"))
    assert torch.equal(out, upsample_conv_reference(features, weight, bias))


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize(("sizes", "tile"), [((2, 6, 9, 20, 37), 3), ((1, 32, 32, 70, 16), 16), ((2, 4, 4, 33, 3), 1)])
def test_squares_are_those_of_the_whole_map(sizes: tuple[int, ...], tile: int, products: str) -> None:
    """The same bits in the squares of the list, nothing beside them; an empty list writes nothing."""
    args = _call(*sizes, seed=tile)
    args[0][0, tile, tile - 1, 1] = math.inf
    packed, (batch, height, width) = pack_phases(args[1], products), sizes[:3]
    _, whole = _guarded(args, torch.float32, 0)
    upsample_conv_cpu(whole, *args, packed=packed, relu=True)
    squares = torch.rand(batch, height // tile, width // tile, generator=torch.Generator().manual_seed(1)) < 0.6
    for chosen in (squares, torch.zeros_like(squares), torch.ones_like(squares)):
        listed = chosen.flatten().nonzero().flatten().int()
        written = chosen.repeat_interleave(2 * tile, 1).repeat_interleave(2 * tile, 2)
        memory, out = _guarded(args, torch.float32, 4)
        out.fill_(_POISON)
        upsample_conv_cpu(out, *args, packed=packed, relu=True, tiles=listed, tile=tile)
        assert torch.equal(out[written].nan_to_num(), whole[written].nan_to_num())
        assert torch.equal(out[written].isnan(), whole[written].isnan())
        assert int((memory != _POISON).sum()) == int(written.sum()) * sizes[4]


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("sizes", [(1, 40, 45, 33, 40), (1, 4, 4, 300, 70), (2, 2, 2, 260, 33)])
def test_threads_change_no_bit(sizes: tuple[int, ...], products: str) -> None:
    args, before, outs = _call(*sizes, seed=3), torch.get_num_threads(), []
    packed = pack_phases(args[1], products)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outs.append(_guarded(args, torch.float32, 0)[1])
            upsample_conv_cpu(outs[-1], *args, packed=packed)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(outs[0], outs[1])


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("relu", [False, True])
def test_not_finite_features_are_judged_as_the_definition_does(products: str, relu: bool) -> None:
    """Where differences are no numbers, the outputs are those of the convolution, and relu comes after that."""
    features, weight, bias = _call(1, 6, 7, 3, 4, seed=5)
    features[0, 1, 2, 0], features[0, 4, 6, 1], features[0, 4, 5, 2] = math.inf, -math.inf, math.nan
    out = torch.empty(1, 12, 14, 4)
    upsample_conv_cpu(out, features, weight, bias, packed=pack_phases(weight, products), relu=relu)
    want = upsample_conv_reference(features, weight, bias)
    want = torch.relu(want) if relu else want
    assert torch.equal(out.isnan(), want.isnan()) and torch.equal(out.isinf(), want.isinf())
    assert torch.equal(out[want.isinf()], want[want.isinf()])


@pytest.mark.parametrize("products", PRODUCTS)
def test_packed_kernels_are_as_many_numbers_as_documented(products: str) -> None:
    packed = pack_phases(torch.ones(33, 5, 3, 3), products)
    assert packed.dtype == getattr(torch, products) and packed.data_ptr() % 64 == 0
    assert packed.numel() == 64 * 9 * (5 if products == "float32" else 6)


def test_other_products_are_refused() -> None:
    with pytest.raises(OptionError, match="float16"):
        pack_phases(torch.ones(1, 1, 3, 3), "float16")


def test_kernels_that_were_packed_from_another_weight_are_refused() -> None:
    args = _call(1, 2, 2, 5, 33)
    for packed, error in (
        (pack_phases(torch.ones(32, 5, 3, 3)), ShapeError),
        (pack_phases(torch.ones(33, 7, 3, 3), "bfloat16"), ShapeError),
        (pack_phases(args[1]).half(), DtypeError),
    ):
        with pytest.raises(error, match="packed"):
            upsample_conv_cpu(torch.empty(1, 4, 4, 33), *args, packed=packed)


def _fault(lib: Any, sizes: tuple[int, ...], products: str, tile: int) -> str:
    """What is wrong with a call in guarded memory; of all squares where `tile` is not 0."""
    args, slack = _call(*sizes, seed=7), 3
    memory, out = _guarded(args, torch.float32, slack)
    count = args[0][..., 0].numel() // tile**2 if tile else 0
    squares = torch.arange(count, dtype=torch.int32) if tile else None
    packed = pack_phases(args[1], products, lib=lib)
    upsample_conv_cpu(out, *args, lib=lib, packed=packed, relu=True, tiles=squares, tile=tile)
    verdict = _judged(out, args, products, relu=True)
    return verdict.reason if verdict.reason or _untouched(memory, out, slack) else "bytes beside the output"


@pytest.mark.parametrize("tile", [0, 2])
@pytest.mark.parametrize("products", PRODUCTS)
def test_mutants_are_caught(products: str, tile: int, faulty_library: SideLibrary) -> None:
    """Every fault of the room, its engine's own among them, with both kinds of products, whole and in squares."""
    if why_missing("_C"):
        pytest.skip(f"NOT RUN: {why_missing('_C')}")
    sizes = (2, 4, 6, 20, 18)
    assert not _fault(faulty_library.with_mutant(0), sizes, products, tile)
    names = {name: number for number, name in enumerate((*MUTANTS, *ENGINE_MUTANTS), 1)}
    # Without squares there is no column of one, without pairs no second.
    names = {
        n: i for n, i in names.items() if (tile or "tile" not in n) and (products == "bfloat16" or "pair" not in n)
    }
    survivors = [name for name, i in names.items() if not _fault(faulty_library.with_mutant(i), sizes, products, tile)]
    faulty_library.with_mutant(0)
    assert not survivors
