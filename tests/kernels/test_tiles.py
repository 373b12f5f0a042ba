"""Lists of squares: the same refusals by every operator that takes one, and an empty list is not the lack of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError
from eamfmeg_fast.kernels.compiled import why_missing
from eamfmeg_fast.kernels.compose.native import compose_cpu
from eamfmeg_fast.kernels.conv3x3.native import conv3x3_cpu
from eamfmeg_fast.kernels.narrow_conv.native import narrow_conv_cpu
from eamfmeg_fast.kernels.upsample_conv.native import upsample_conv_cpu

_MAP = (2, 8, 12)


def _conv3x3(**options: Any) -> Tensor:
    out = torch.full((*_MAP, 3), 7.0)
    weight = torch.ones(3, 5, 3, 3)
    conv3x3_cpu(out, torch.ones(*_MAP, 5), weight, None, None, None, None, False, "float32", **options)
    return out


def _narrow_conv(**options: Any) -> Tensor:
    out = torch.full((*_MAP, 3), 7.0)
    narrow_conv_cpu(out, torch.ones(*_MAP, 5), torch.ones(3, 5, 3, 3), None, **options)
    return out


def _upsample_conv(**options: Any) -> Tensor:
    out = torch.full((_MAP[0], 2 * _MAP[1], 2 * _MAP[2], 3), 7.0)
    upsample_conv_cpu(out, torch.ones(*_MAP, 5), torch.ones(3, 5, 3, 3), None, **options)
    return out


def _compose(**options: Any) -> Tensor:
    out = torch.full((*_MAP, 3), 7, dtype=torch.uint8)
    flow, occlusion = torch.zeros(2, 4, 6, 2), torch.ones(2, 4, 6)
    compose_cpu(out, torch.zeros(*_MAP, 3), None, None, flow, occlusion, "centres", False, **options)
    return out


CALLS = [_conv3x3, _narrow_conv, _upsample_conv, _compose]


@pytest.fixture(autouse=True)
def _room() -> None:
    if reason := why_missing("_C"):
        pytest.skip(f"NOT RUN: {reason}")


@pytest.mark.parametrize("call", CALLS)
def test_no_list_is_everything_and_an_empty_one_nothing(call: Callable[..., Tensor]) -> None:
    assert int((call() == 7).sum()) == 0
    assert bool((call(tiles=torch.empty(0, dtype=torch.int32), tile=4) == 7).all())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("numbers", "tile", "said"),
    [
        ([0], 0, "squares of 0"),
        ([], 0, "squares of 0"),
        ([0], -4, "squares of -4"),
        ([0], 16, "squares of 16"),
        ([0], 12, "squares of 12"),
        ([0, 12], 4, "0 to 11"),
        ([-1, 3], 4, "from -1"),
        ([3, 1], 4, "unsorted"),
        ([0, 99, 2], 4, "unsorted"),
        ([1, 2, 2], 4, "not unique"),
        ([[0]], 4, "one axis"),
    ],
    ids=str,
)
def test_lists_that_do_not_fit_are_refused(
    numbers: list[Any], tile: int, said: str, call: Callable[..., Tensor]
) -> None:
    with pytest.raises(ShapeError, match=said):
        call(tiles=torch.tensor(numbers, dtype=torch.int32), tile=tile)


@pytest.mark.parametrize("call", CALLS)
def test_lists_of_another_type_are_refused(call: Callable[..., Tensor]) -> None:
    with pytest.raises(DtypeError, match="int64"):
        call(tiles=torch.tensor([0]), tile=4)


@pytest.mark.parametrize("cells", [(0, 6), (4, 0), (3, 6), (4, 5), (16, 6)], ids=str)
def test_compose_refuses_cells_that_do_not_fill_the_picture(cells: tuple[int, int]) -> None:
    out, logits = torch.full((*_MAP, 3), 7, dtype=torch.uint8), torch.zeros(*_MAP, 3)
    flow, occlusion = torch.zeros(2, *cells, 2), torch.ones(2, *cells)
    with pytest.raises(ValueError, match="size"):
        compose_cpu(out, logits, None, None, flow, occlusion, "centres", False)
    assert bool((out == 7).all())
