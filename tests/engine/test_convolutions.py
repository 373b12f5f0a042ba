"""The CPU backend's two kinds of convolution: which one is taken, and that both compute the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eamfmeg_fast.engine.cpu.convolution import Convolution, Winograd, quickest
from eamfmeg_fast.engine.cpu.workspace import Workspace


def kernel(outer: int, inner: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(outer + inner + side)
    weight = torch.randn(outer, inner, side, side, generator=generator) / (inner * side * side) ** 0.5
    return weight, torch.randn(outer, generator=generator)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("outer", "inner", "size"), [(22, 108, 64), (100, 27, 12), (48, 3, 7), (5, 1, 1)])
def test_both_compute_the_same(outer: int, inner: int, size: int, relu: bool) -> None:
    weight, bias = kernel(outer, inner, 3)
    x = torch.randn(2, inner, size, size, generator=torch.Generator().manual_seed(7))
    x = x.to(memory_format=torch.channels_last)
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    wanted = wanted.relu() if relu else wanted
    workspace = Workspace()
    for convolve in (
        Winograd(weight, bias, workspace=workspace, memory="odd", relu=relu),
        Convolution(weight, bias, padding=1, size=size, relu=relu),
    ):
        found = convolve(x)
        assert found.is_contiguous(memory_format=torch.channels_last) and found.dtype == torch.float32
        assert (found - wanted).abs().max() < 2e-5


def test_the_quickest_is_taken_where_its_memory_is_worth_it() -> None:
    workspace = Workspace()
    assert isinstance(quickest(kernel(160, 160, 3), 1, 8, workspace, "odd"), Winograd)
    for wide, padding in ((kernel(1024, 512, 3), 1), (kernel(8, 8, 7), 3), (kernel(8, 8, 3), 0)):
        assert isinstance(quickest(wide, padding, 8, workspace, "odd"), Convolution)


def test_it_keeps_no_memory_but_the_one_it_is_told() -> None:
    workspace = Workspace()
    kept = workspace.buffer("even", (64,)).fill_(3)
    Winograd(*kernel(16, 16, 3), workspace=workspace, memory="odd")(torch.ones(1, 16, 8, 8))
    assert set(workspace._memory) == {"even", "odd"} and bool((kept == 3).all())
