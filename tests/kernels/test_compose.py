"""What is special about compose: a face at rest, the parts it is made of, and squares that are drawn alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.kernels.compiled import library
from eamfmeg_fast.kernels.compose import OP, compose
from eamfmeg_fast.kernels.compose.native import compose_cpu
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import Guarded, compare, upcast
from eamfmeg_fast.kernels.to_image import to_image

SQUARES = [0, 2, 3, 7, 9, 10, 25, 31]
_SENTINEL = 255


@pytest.fixture(params=[0, 1, 2], ids=["portable", "avx2", "avx512"])
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    if library("_C").limit_isa(request.param) != request.param:
        pytest.skip("NOT RUN: this processor has fewer vector instructions")
    yield
    library("_C").limit_isa(-1)


def _picture(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _still(rows: int, columns: int) -> Tensor:
    return identity_grid(rows, columns, "centres", dtype=torch.float32)[None]


def _inside(shape: torch.Size, tile: int) -> Tensor:
    """Which pixels lie in the squares."""
    marks = torch.zeros(shape[0], shape[1] // tile, shape[2] // tile, dtype=torch.bool)
    marks.view(-1)[SQUARES] = True
    return marks.repeat_interleave(tile, 1).repeat_interleave(tile, 2)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("cells", [(64, 64, 4), (7, 11, 3), (5, 9, 1)])
def test_a_face_at_rest_is_the_picture(cells: tuple[int, int, int]) -> None:
    """Every pixel of any picture, sampled where it is: no rounding on the way."""
    rows, columns, step = cells
    picture = _picture(1, rows * step, columns * step, 3)
    logits = torch.randn(picture.shape, generator=torch.Generator().manual_seed(2))
    got = compose(logits, picture, None, _still(rows, columns), torch.ones(1, rows, columns), "centres", False)
    assert (got.int() - to_image(picture).int()).abs().max() == 0


@pytest.mark.usefixtures("_level")
def test_what_is_hidden_is_the_prediction() -> None:
    logits = torch.randn(1, 12, 20, 3, generator=torch.Generator().manual_seed(3))
    flow, hidden = _still(3, 5) + 0.3, torch.zeros(1, 3, 5)
    want = to_image(logits, from_logits=True)
    assert torch.equal(compose(logits, _picture(1, 12, 20, 3), None, flow, hidden, "centres", False), want)
    assert torch.equal(compose(logits, None, None, flow, hidden, "centres", False), want)


@pytest.mark.usefixtures("_level")
def test_a_whole_pixel_s_motion_moves_whole_pixels() -> None:
    """Two to the right and one up; the border repeats. Backward: each pixel comes from the left and from below."""
    picture, flow = _picture(1, 16, 16, 3), _still(4, 4) + torch.tensor([-4 / 16, 2 / 16])
    logits, seen = torch.zeros_like(picture), torch.ones(1, 4, 4)
    rows, columns = (torch.arange(16) + 1).clamp(max=15), (torch.arange(16) - 2).clamp(min=0)
    want = to_image(picture[:, rows][:, :, columns])
    assert torch.equal(compose(logits, picture, None, flow, seen, "centres", False), want)


@pytest.mark.usefixtures("_level")
@pytest.mark.parametrize("name", ["centres", "corners", "no grain", "sigmoid alone"])
def test_squares_are_the_same_bytes_and_nothing_else_is_written(name: str) -> None:
    args = {sample.name: sample for sample in OP.samples()}[name].args
    want = compose(*args)
    inside, before = _inside(want.shape, 4), torch.get_num_threads()
    assert bool((want != _SENTINEL).any())
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = Guarded(tuple(want.shape), torch.uint8)
            compose_cpu(out.tensor, *args, tiles=torch.tensor(SQUARES, dtype=torch.int32), tile=4)
            assert torch.equal(out.tensor[inside], want[inside]) and out.trespass() == 0
            assert bool((out.tensor[~inside] == _SENTINEL).all())
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("_level")
def test_squares_wider_than_a_span_are_the_same_bytes() -> None:
    generator = torch.Generator().manual_seed(5)
    logits, grain = (torch.randn(1, 148, 296, 3, generator=generator) for _ in range(2))
    flow = _still(37, 74) + 0.05 * torch.randn(1, 37, 74, 2, generator=generator)
    args = (logits, _picture(1, 148, 296, 3), 0.1 * grain, flow, _picture(1, 37, 74, seed=6), "centres", False)
    out, want = torch.zeros(1, 148, 296, 3, dtype=torch.uint8), compose(*args)
    compose_cpu(out, *args, tiles=torch.tensor([1], dtype=torch.int32), tile=148)
    assert torch.equal(out[:, :, 148:], want[:, :, 148:]) and int(out[:, :, :148].max()) == 0


def test_no_squares_write_nothing() -> None:
    args, out = OP.network().args, Guarded((1, 256, 256, 3), torch.uint8)
    compose_cpu(out.tensor, *args, tiles=torch.empty(0, dtype=torch.int32))
    assert bool((out.tensor == _SENTINEL).all()) and out.trespass() == 0


def test_faults_are_caught_in_squares_too(faulty_library: SideLibrary) -> None:
    chosen = [s for s in OP.samples() if s.name in ("centres", "corners")]

    def passes(sample: Any, number: int) -> bool:
        same = OP.reference(*sample.args)
        exact = OP.unrounded(*map(upcast, sample.args)) if OP.unrounded else same
        inside, out = _inside(same.shape, 4), Guarded(tuple(same.shape), torch.uint8)
        options: dict[str, Any] = {"tiles": torch.tensor(SQUARES, dtype=torch.int32), "tile": 4}
        compose_cpu(out.tensor, *sample.args, lib=faulty_library.with_mutant(number), **options)
        return compare(out.tensor[inside], same[inside], exact[inside]).passed and not out.trespass()

    faults = range(1, len(OP.rooms["cpu"].mutants) + 1)
    assert all(passes(sample, 0) for sample in chosen)
    assert not [number for number in faults if all(passes(sample, number) for sample in chosen)]
