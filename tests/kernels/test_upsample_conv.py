"""What is special about upsample_conv: exact sums, packed kernels, and infinities that meet each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.kernels.compiled import library
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
