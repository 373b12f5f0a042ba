"""sparse_motion at rest: what no error rule asks for, and a still face needs."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.kernels.compiled import library, why_missing
from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.kernels.sparse_motion import sparse_motion
from eamfmeg_fast.kernels.sparse_motion.reference import sparse_motion as in_plain_pytorch


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("pixel_grid", ["corners", "centres"])
def test_nothing_moves_when_nothing_moved(pixel_grid: str, level: int) -> None:
    """Every heatmap is zero and every motion draws what the background draws, to the last bit."""
    if why_missing("_C"):
        pytest.skip("NOT RUN: no compiled library")
    generator = torch.Generator().manual_seed(1)
    kp, jacobian = torch.randn(2, 5, 2, generator=generator), torch.randn(2, 5, 2, 2, generator=generator)
    thumbnail = torch.rand(2, 33, 20, 3, generator=generator)
    affine = affine_of(kp, jacobian, kp.clone(), jacobian.clone())
    library("_C").limit_isa(level)
    try:
        motions = sparse_motion(thumbnail, kp, kp.clone(), affine, 0.01, pixel_grid).unflatten(-1, (6, 4))
    finally:
        library("_C").limit_isa(-1)
    assert (motions[..., 0] == 0).all()
    assert torch.equal(motions[..., 1:], motions[..., :1, 1:].expand(-1, -1, -1, 6, -1))


def test_a_grid_of_exact_numbers_gives_the_thumbnail_itself() -> None:
    thumbnail = torch.rand(1, 16, 32, 3, generator=torch.Generator().manual_seed(2))
    kp, affine = torch.zeros(1, 2, 2), torch.eye(2, 3).expand(1, 2, 2, 3)
    got = sparse_motion(thumbnail, kp, kp, affine, 0.01, "centres")
    assert torch.equal(got, in_plain_pytorch(thumbnail, kp, kp, affine, 0.01, "centres"))
    assert torch.equal(got.unflatten(-1, (3, 4))[..., 1, 1:], thumbnail)
