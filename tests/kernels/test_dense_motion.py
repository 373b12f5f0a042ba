"""What is special about dense_motion: stillness to the last bit, closed forms, and calls without a mask or a copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.dense_motion import dense_motion, native
from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid

GRIDS: tuple[PixelGrid, ...] = ("corners", "centres")
Into = Callable[..., None]


@pytest.fixture(params=["portable", "avx2", "avx512", "cuda"])
def into(request: pytest.FixtureRequest) -> Iterator[Into]:
    """The compiled rooms: the CPU's at each level, and the CUDA source on the CPU."""
    if request.param == "cuda":
        shim = request.getfixturevalue("cuda_on_host").with_mutant(0)
        yield lambda *args: native.dense_motion_cuda(*args, lib=shim)
        return
    level = ["portable", "avx2", "avx512"].index(request.param)
    if library("_C").limit_isa(level) != level:
        pytest.skip(f"NOT RUN: this processor has no {request.param}")
    yield native.dense_motion_cpu
    library("_C").limit_isa(-1)


def _results(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (logits.shape, (*logits.shape[:3], 2), logits.shape[:3])
    mask, flow, occlusion = (torch.full(shape, math.nan) for shape in shapes)
    return mask, flow, occlusion


def _affine(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).view(1, -1, 2, 3)


def _as_bytes(x: Tensor) -> bytes:
    return x.numpy().tobytes()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (7, 13), (1, 3), (1, 1)])
def test_nothing_moves_to_the_last_bit(into: Into, grid: PixelGrid, height: int, width: int) -> None:
    """Whatever the masks are, wherever rounding could show: the coordinates are those of the grid."""
    logits = 30 * torch.randn(1, height, width, 11)
    out = _results(logits)
    into(out, logits, logits[..., 0], torch.eye(2, 3).expand(1, 10, 2, 3), grid)
    still = identity_grid(height, width, grid, dtype=torch.float32)
    assert _as_bytes(out[1][0]) == _as_bytes(still)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_certain_motion_is_its_affine_map(into: Into, grid: PixelGrid) -> None:
    """Rows of three: a turn with a shift, a stretch; the background where its logit is the largest."""
    affine = _affine([0.5, -0.25, 0.125, 0.25, 0.5, -0.5], [2.0, 0.0, 0.0, 0.0, 1.0, 0.25])
    logits = torch.full((1, 3, 5, 3), -200.0)
    logits[0, 0, :, 0], logits[0, 1, :, 1], logits[0, 2, :, 2] = 200.0, 200.0, 200.0
    out = _results(logits)
    into(out, logits, logits[..., 0], affine, grid)
    z = identity_grid(3, 5, grid, dtype=torch.float32)
    maps = [torch.eye(2, 3), *affine[0]]
    for row, a in enumerate(maps):
        want = z[row].double() @ a[:, :2].double().T + a[:, 2].double()
        torch.testing.assert_close(out[1][0, row].double(), want, rtol=0, atol=3e-7)
        assert torch.equal(out[0][0, row], torch.eye(3)[row].expand(5, 3))
    assert torch.equal(out[2][0, 0], torch.ones(5)) and (out[2][0, 1:] < 1e-37).all()


def test_equal_logits_share_evenly(into: Into) -> None:
    logits = torch.full((1, 2, 19, 4), 1e6)
    out = _results(logits)
    into(
        out,
        logits,
        torch.zeros(1, 2, 19),
        _affine([1.0, 0, 0.4, 0, 1, 0], [1.0, 0, 0, 0, 1, 0.8], [1.0, 0, 0, 0, 1, 0]),
        "centres",
    )
    assert torch.equal(out[0], torch.full_like(out[0], 0.25)) and torch.equal(out[2], torch.full_like(out[2], 0.5))
    moved = out[1] - identity_grid(2, 19, "centres", dtype=torch.float32)
    torch.testing.assert_close(moved, torch.tensor([0.1, 0.2]).expand_as(moved), rtol=0, atol=2e-7)


def test_without_a_mask_the_rest_is_the_same(into: Into) -> None:
    packed, affine = torch.randn(2, 5, 21, 12), torch.eye(2, 3) + 0.1 * torch.randn(2, 10, 2, 3)
    call = (packed[..., :11], packed[..., 11], affine, "corners")
    with_mask, without = _results(packed[..., :11]), _results(packed[..., :11])
    into(with_mask, *call)
    into((None, *without[1:]), *call)
    assert without[0].isnan().all()
    assert [_as_bytes(x) for x in without[1:]] == [_as_bytes(x) for x in with_mask[1:]]


def test_layout_does_not_change_a_bit(into: Into) -> None:
    """Parts of one packed tensor, packed ones of their own, and maps of channels in front."""
    packed, affine = torch.randn(1, 4, 37, 12), torch.eye(2, 3) + 0.1 * torch.randn(1, 10, 2, 3)
    logits, hidden = packed[..., :11], packed[..., 11]
    front = logits.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    found = set()
    for layout in (logits, logits.contiguous(), front):
        out = _results(logits)
        into(out, layout, hidden, affine, "centres")
        found.add(b"".join(map(_as_bytes, out)))
    assert len(found) == 1


def test_inputs_are_not_copied() -> None:
    """The room gets the addresses of the packed map itself."""
    calls: list[tuple[Any, ...]] = []

    class Recorder:
        def dense_motion_cpu(self, *args: Any) -> None:
            calls.append(args)

    packed, affine = torch.randn(1, 4, 6, 12), torch.randn(1, 10, 2, 3)
    native.dense_motion_cpu(
        _results(packed[..., :11]), packed[..., :11], packed[..., 11], affine, "centres", Recorder()
    )
    assert calls[0][3:6] == (packed.data_ptr(), packed.data_ptr() + 44, affine.data_ptr())


def test_masks_sum_to_one() -> None:
    mask, _, occlusion = dense_motion(5 * torch.randn(2, 9, 10, 6), torch.randn(2, 9, 10), torch.randn(2, 5, 2, 3))
    assert ((mask.double().sum(-1) - 1).abs() < 1e-6).all() and (mask >= 0).all()
    assert ((occlusion > 0) & (occlusion < 1)).all()
