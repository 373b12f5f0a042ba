"""What is special about warp_occlude: what it must leave alone, what must not leak in, and what may not overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.warp_occlude import native, warp_occlude
from eamfmeg_fast.kernels.warp_occlude.reference import warp_occlude as reference

Warp = Callable[..., Tensor]


@pytest.fixture(params=["portable", "avx2", "avx512", "cuda"])
def warp(request: pytest.FixtureRequest) -> Iterator[Warp]:
    """The compiled rooms: the CPU's at each level, and the CUDA source on the CPU."""
    if request.param == "cuda":
        shim = request.getfixturevalue("cuda_on_host").with_mutant(0)
        yield lambda *args: _into(native.warp_occlude_cuda, *args, lib=shim)
        return
    level = ["portable", "avx2", "avx512"].index(request.param)
    if library("_C").limit_isa(level) != level:
        pytest.skip(f"NOT RUN: this processor has no {request.param}")
    yield lambda *args: _into(native.warp_occlude_cpu, *args)
    library("_C").limit_isa(-1)


def _into(function: Callable[..., None], features: Tensor, flow: Tensor, *rest: Any, **switches: Any) -> Tensor:
    out = torch.full((*flow.shape[:3], features.shape[3]), math.nan, dtype=features.dtype)
    function(out, features, flow, *rest, **switches)
    return out


def _still(height: int, width: int) -> Tensor:
    return identity_grid(height, width, "centres", dtype=torch.float32)[None].clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 40])
def test_at_rest_no_bit_changes(warp: Warp, dtype: torch.dtype, channels: int) -> None:
    features = torch.randn(1, 8, 16, channels).to(dtype)
    assert torch.equal(warp(features, _still(8, 16), None, False), features)


def test_whole_pixels_move_without_change(warp: Warp) -> None:
    """The flow points to where the content comes from, x first."""
    features, flow = torch.randn(1, 8, 16, 5), _still(8, 16)
    flow[..., 0] += 2 * 2 / 16
    flow[..., 1] -= 2 * 1 / 8
    got = warp(features, flow, None, False)
    assert torch.equal(got[:, 1:, :-2], features[:, :-1, 2:])
    assert (got[:, 0] == 0).all() and (got[:, :, -2:] == 0).all()


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_nothing_beyond_the_picture_is_seen(warp: Warp, channels: int) -> None:
    """The picture is a window in memory full of NaN; taps outside it are not even multiplied."""
    memory = torch.full((3, 8, 9, channels), math.nan)
    memory[1, 2:6, 3:7] = torch.rand(4, 4, channels) + 1
    flow = (torch.rand(1, 20, 20, 2) * 2 - 1) * 1.6
    got = warp(memory[1:2, 2:6, 3:7], flow, None, False)
    assert got.isfinite().all() and (got == 0).any() and (got > 1).any()


def test_a_tap_inside_that_weighs_nothing_still_counts(warp: Warp) -> None:
    """As in PyTorch: at rest the right and lower neighbours weigh 0, and 0 times NaN is NaN."""
    features = torch.ones(1, 4, 4, 2)
    features[0, 2, 2, 0] = math.nan
    got = warp(features, _still(4, 4), None, False)
    want = reference(features, _still(4, 4), None, False)
    assert got.isnan().sum() == 4
    assert torch.equal(got.isnan(), want.isnan())


def test_occlusion_outside_0_to_1_is_applied_to_the_sum(warp: Warp) -> None:
    """Single products would overflow, or meet 0 times infinity, where their sum does not."""
    features = torch.tensor([[3e38, 2.0], [-3e38, 2.0]]).view(1, 1, 2, 2)
    occlusion = torch.tensor([8.0, -8.0, math.inf]).view(1, 1, 3)
    got = warp(features, torch.zeros(1, 1, 3, 2), occlusion, False)
    assert got[0, 0, :2].tolist() == [[0, 16], [0, -16]]
    assert got[0, 0, 2, 0].isnan() and got[0, 0, 2, 1] == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("align_corners", [False, True])
def test_what_is_nowhere_is_zero_even_in_a_picture_of_one_pixel(warp: Warp, bad: float, align_corners: bool) -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0, 1, 0], flow[0, 1, 0, 1] = bad, bad
    got = warp(torch.ones(1, 1, 1, 3), flow, torch.ones(1, 2, 2), align_corners)
    assert (got[0, 0, 1] == 0).all() and (got[0, 1, 0] == 0).all()
    assert (got[0, 0, 0] == 1).all() and (got[0, 1, 1] == 1).all()


def test_no_occlusion_is_an_occlusion_of_one() -> None:
    features, flow = torch.randn(2, 5, 6, 7), torch.rand(2, 4, 3, 2) * 2 - 1
    assert torch.equal(warp_occlude(features, flow), warp_occlude(features, flow, torch.ones(2, 4, 3)))
    assert (warp_occlude(features, flow, torch.zeros(2, 4, 3)) == 0).all()
