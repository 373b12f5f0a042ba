"""Tiny displacements become none without a step anywhere, and nothing is hidden at rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.network.stillness import settle_flow, visible_since_rest

SIZE, CELLS, STILL = 256, 16, 0.05
REST = identity_grid(CELLS, CELLS, "centres", dtype=torch.float64)


def settled_px(away_px: torch.Tensor, still_px: float = STILL) -> torch.Tensor:
    """Displacements `[h, w, 2]` in px before and after."""
    flow = (REST + away_px * (2 / SIZE))[None]
    return (settle_flow(flow, REST, still_px)[0] - REST) * (SIZE / 2)


def uniform(length: float) -> torch.Tensor:
    return torch.tensor([0.6, -0.8], dtype=torch.float64).expand(CELLS, CELLS, 2) * length


def test_small_is_nothing_and_large_is_left_alone() -> None:
    flow = (REST + uniform(0.049) * (2 / SIZE))[None]
    assert torch.equal(settle_flow(flow, REST, STILL)[0], REST)
    assert torch.allclose(settled_px(uniform(0.5)), uniform(0.5), atol=1e-12)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_face_is_held_alike_at_every_size(size: int) -> None:
    """The same share of the picture moves at every size, with more cells and pixels."""
    config = replace(PRESETS["small"], size=size)
    cells = config.map_size
    rest = identity_grid(cells, cells, "centres", dtype=torch.float64)
    for px, part in ((0.049, 0.0), (0.125, 0.5), (0.2, 1.0)):
        away = torch.tensor([0.6, -0.8], dtype=torch.float64).expand(1, cells, cells, 2) * (px / 128)
        after = settle_flow(rest + away, rest, config.still_px) - rest
        assert torch.allclose(after, away * part, atol=1e-12)


def test_it_is_continuous_and_grows_with_the_displacement() -> None:
    lengths = torch.linspace(0, 0.4, 401, dtype=torch.float64)
    after = torch.stack([settled_px(uniform(float(x)))[0, 0].norm() for x in lengths])
    steps = after.diff()
    assert (steps > -1e-12).all() and steps.max() < 3 * float(lengths[1])
    assert (after <= lengths + 1e-12).all()


def test_it_never_turns() -> None:
    after = settled_px(uniform(0.12))
    assert torch.allclose(after[..., 0] * -0.8, after[..., 1] * 0.6, atol=1e-12) and after.norm() > 0


def test_a_moving_region_keeps_its_small_parts() -> None:
    away = torch.zeros(CELLS, CELLS, 2, dtype=torch.float64)
    away[8, 8], away[8, 9], away[8, 11] = 1.0, 0.03, 0.03
    after = settled_px(away)
    assert torch.allclose(after[8, 9], away[8, 9]) and not after[8, 11].any()


def test_off_is_the_flow_itself() -> None:
    flow = torch.rand(1, CELLS, CELLS, 2)
    assert settle_flow(flow, REST.float(), 0.0) is flow
    occlusion = torch.rand(1, CELLS, CELLS)
    assert visible_since_rest(occlusion, None) is occlusion


@pytest.mark.parametrize("name", ["eamfmeg", "fomm", "fmeg"])
def test_parity_presets_have_none_of_it(name: str) -> None:
    config = PRESETS[name]
    assert config.still_px == 0 and not config.relative_occlusion and not config.counts_from_rest


def test_visibility_counts_from_rest() -> None:
    rest = torch.tensor([[[1e-30, 0.1, 0.6, 0.8, 1.0]]])
    assert (visible_since_rest(rest, rest) == 1).all()
    assert (visible_since_rest((rest * 2).clamp(max=1), rest) == 1).all()
    half = visible_since_rest(rest / 2, rest)
    assert torch.allclose(half[..., 2:], torch.full((1, 1, 3), 0.5)) and (half[..., :2] >= 0.5).all()
    assert visible_since_rest(torch.zeros(1, 1, 5), rest).min() == 0
