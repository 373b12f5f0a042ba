"""What is special about quantize: ties, on which the error rule has no opinion, go to the even number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.quantize import OP, quantize
from eamfmeg_fast.kernels.quantize.native import quantize_cpu
from eamfmeg_fast.kernels.quantize.samples import EXACT_MUTANTS, MUTANTS
from eamfmeg_fast.kernels.side_build import SideLibrary


@pytest.fixture(params=[0, 1, 2], ids=["portable", "avx2", "avx512"])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    if library("_C").limit_isa(request.param) != request.param:
        pytest.skip("NOT RUN: this processor has fewer vector instructions")
    yield
    library("_C").limit_isa(-1)


def _halves(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A call whose every number is a multiple of a half, from -2 to 257, and its result."""
    values = (torch.arange(-4, 515) / 2).repeat(channels).view(1, 1, -1, channels)
    return values, torch.ones(channels), torch.zeros(channels), values.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("channels", [1, 16, 19, 40])
def test_halves_go_to_the_even_number(channels: int) -> None:
    *args, want = _halves(channels)
    assert torch.equal(quantize(*args), want)
    strided = torch.stack([args[0], args[0]], -1)[..., 0]
    assert torch.equal(quantize(strided, *args[1:]), want)


def test_faults_that_only_ties_show_are_caught(faulty_library: SideLibrary) -> None:
    *args, want = _halves(19)
    same = []
    for number in range(len(MUTANTS), len(MUTANTS) + len(EXACT_MUTANTS) + 1):
        out = torch.zeros_like(want)
        quantize_cpu(out, *args, lib=faulty_library.with_mutant(0 if number == len(MUTANTS) else number))
        same.append(torch.equal(out, want))
    assert same == [True] + [False] * len(EXACT_MUTANTS)
