"""The sparse update: near the dense result, cheaper, and never older than it says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from eamfmeg_fast.config import PRESETS, HourglassConfig
from eamfmeg_fast.engine.cpu.decoder import Decoder
from eamfmeg_fast.engine.cpu.encoder import Encoder
from eamfmeg_fast.engine.cpu.front import Motion
from eamfmeg_fast.engine.cpu.sparse import SparseDecoder, Tolerance, _Windows
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.parameters import NetworkParameters
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.network import Keypoints, build_network, fill_seeded

SIZE, CELLS = 256, 64
_HOURGLASS = HourglassConfig(4, 2, 8)


@cache
def parameters(attention: str | None = "released", skip: bool = False) -> NetworkParameters:
    config = replace(
        PRESETS["eamfmeg"],
        keypoint=_HOURGLASS,
        dense_motion=_HOURGLASS,
        generator_expansion=8,
        residual_blocks=2,
        attention=attention,
        skip=skip,
        pixel_grid="centres" if skip else "corners",
        size=SIZE,
    )
    return NetworkParameters(fill_seeded(build_network(config)))


def target(seed: int = 0, **kind: object) -> TargetState:
    rng = torch.Generator().manual_seed(seed)
    encoder = Encoder(parameters(**kind))
    coarse = torch.rand(1, 3, 24, 24, generator=rng)
    picture = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    features = encoder.encode(picture.permute(0, 2, 3, 1).contiguous())
    return TargetState(
        picture=picture,
        thumbnail=torch.zeros(1, 3, CELLS, CELLS),
        keypoints=Keypoints(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2, 2)),
        edge_map=torch.rand(1, CELLS, CELLS, generator=rng),
        features=features.permute(0, 3, 1, 2),
        projections=encoder.project(features),
    )


def motion(amount_px: float, occlusion: float = 0.8) -> Motion:
    """A bump of `amount_px` in one corner of the face; the rest stands still."""
    flow = identity_grid(CELLS, CELLS, "corners", dtype=torch.float32)[None].clone()
    y, x = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    bump = torch.exp(-((x - 20.0) ** 2 + (y - 40.0) ** 2) / 32)
    flow[..., 0] += amount_px * 2 / SIZE * bump
    return Motion(flow, torch.full((1, CELLS, CELLS), occlusion))


def decoders(tolerance: Tolerance | None = None, **kind: object) -> tuple[Decoder, SparseDecoder]:
    given = parameters(**kind)
    return Decoder(given, "float32", Workspace()), SparseDecoder(given, "float32", Workspace(), tolerance)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / ((a.double() - b.double()) ** 2).mean().clamp(min=1e-6)))


@pytest.mark.parametrize("kind", [{}, {"attention": None}, {"skip": True}], ids=["released", "plain", "skip"])
def test_a_small_motion_costs_little_and_is_drawn(kind: dict[str, object]) -> None:
    dense, sparse = decoders(**kind)
    state = target(**kind)
    still = sparse.draw(state, motion(0.0))
    assert sparse.active == 1.0 and torch.equal(still, dense.draw(state, motion(0.0)))
    for step in range(1, 6):
        drawn, exact = sparse.draw(state, motion(2.0 * step)), dense.draw(state, motion(2.0 * step))
        assert sparse.active < 0.6
        assert psnr(drawn, exact) > 40
    assert sparse.active > 0 and psnr(drawn, exact) > psnr(still, exact) + 3, "no better than not moving at all"


def test_nothing_changes_where_nothing_moves() -> None:
    _, sparse = decoders()
    state = target()
    first = sparse.draw(state, motion(1.0))
    again = sparse.draw(state, motion(1.0))
    assert sparse.active == 0.0 and torch.equal(first, again)


def test_slow_motion_is_not_lost() -> None:
    """Each step stays below the tolerance; together they do not."""
    dense, sparse = decoders(attention=None)
    state = target(attention=None)
    sparse.draw(state, motion(0.0))
    computed = 0.0
    for step in range(1, 41):
        drawn = sparse.draw(state, motion(0.05 * step))
        computed += sparse.active
    exact = dense.draw(state, motion(2.0))
    assert 0 < computed < 20 and psnr(drawn, exact) > 40


def test_what_moves_everywhere_is_computed_densely() -> None:
    dense, sparse = decoders()
    state, shift = target(), motion(0.0)
    sparse.draw(state, shift)
    shift = Motion(shift.flow + 0.05, shift.occlusion)
    assert torch.equal(sparse.draw(state, shift), dense.draw(state, shift)) and sparse.active == 1.0


def test_another_target_starts_anew() -> None:
    dense, sparse = decoders()
    first, second = target(1), target(2)
    for state in (first, second, first):
        assert torch.equal(sparse.draw(state, motion(1.0)), dense.draw(state, motion(1.0))) and sparse.active == 1.0


def test_everything_is_computed_now_and_then() -> None:
    _, sparse = decoders(Tolerance(refresh=4))
    state = target()
    shares = []
    for step in range(9):
        sparse.draw(state, motion(0.3 * step))
        shares.append(sparse.active)
    assert [share == 1.0 for share in shares] == [step % 4 == 0 for step in range(9)]


def test_zero_tolerance_is_the_dense_result_where_it_can_reach() -> None:
    """Without tolerance every tile that sees a change is computed; what is left is how far convolutions reach."""
    dense, sparse = decoders(Tolerance(change=0.0, dense_above=1.0), attention=None)
    state = target(attention=None)
    sparse.draw(state, motion(0.0))
    drawn, exact = sparse.draw(state, motion(3.0)), dense.draw(state, motion(3.0))
    assert 0 < sparse.active < 1 and psnr(drawn, exact) > 55


def test_several_at_once_are_dense_and_leave_the_memory_alone() -> None:
    dense, sparse = decoders()
    state = target()
    sparse.draw(state, motion(1.0))
    pair = Motion(*(torch.cat([a, b]) for a, b in zip(motion(0.5), motion(2.0))))
    assert torch.equal(sparse.draw(state, pair), dense.draw(state, pair)) and sparse.active == 1.0
    first = sparse.draw(state, motion(1.0))
    assert sparse.active == 0.0 and torch.equal(first, dense.draw(state, motion(1.0)))


def test_windows_overlap_as_they_should() -> None:
    """A change one pixel beyond a tile is seen by it; one five pixels beyond is not."""
    _, sparse = decoders(attention=None)
    state = target(attention=None)
    features = torch.zeros(1, CELLS, CELLS, 8)
    features[0, 0, 0] = 1
    windows = _Windows(state, features)
    moved = features.clone()
    moved[0, 16, 23] += 1
    seen = np.argwhere(windows.change(moved).numpy() > 0).tolist()
    assert seen == [[1, 2], [1, 3], [2, 2], [2, 3]]
    windows.keep(torch.tensor([2 * 8 + 2], dtype=torch.int32))
    assert np.argwhere(windows.change(moved).numpy() > 0).tolist() == [[1, 2], [1, 3], [2, 3]]
