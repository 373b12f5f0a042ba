"""Every figure once where it is perfect by construction, and once where it must fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.evaluate import truth
from eamfmeg_fast.evaluate.truth import course, edge_f_score, end_point, jitter_px, performance, ridges
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.warp_occlude.reference import warp_cubic

CELLS = 32
EVERYWHERE = np.ones((CELLS, CELLS))


def bump(x: float, y: float, size: int = CELLS) -> np.ndarray:
    """A smile's end: a soft bump that goes up and outwards, 2 px at most."""
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shape = 2 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / 0.05)
    return np.stack([0.6 * shape, -0.8 * shape], -1)


def wandering() -> np.ndarray:
    """A head that slides, turns and comes nearer."""
    down, across = np.mgrid[-1 : 1 : CELLS * 1j, -1 : 1 : CELLS * 1j]
    return np.stack([1.5 + 0.3 * across - 0.4 * down, -0.7 + 0.3 * down + 0.4 * across], -1)


def face(seed: int, size: int = 64) -> np.ndarray:
    """A smooth coloured picture, uint8."""
    small = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(small, size=(size, size), mode="bicubic", align_corners=False)
    return (large[0].permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()


def test_the_true_flow_has_no_error() -> None:
    found = end_point(bump(0, 0), bump(0, 0), EVERYWHERE > 0)
    assert found.moving == found.still == 0 and found.motion > truth.MOVING_PX


def test_a_flow_of_zero_is_wrong_by_the_whole_motion() -> None:
    true = bump(0, 0)
    found = end_point(0 * true, true, EVERYWHERE > 0)
    assert found.moving == found.motion > truth.MOVING_PX > found.still > 0


def test_errors_are_counted_where_they_are() -> None:
    true, known = bump(0, 0), EVERYWHERE > 0
    length = np.linalg.norm(true, axis=-1)
    leak = true + np.where(length <= truth.MOVING_PX, 1.0, 0.0)[..., None]
    found = end_point(leak, true, known)
    assert found.moving == 0 and found.still == pytest.approx(2**0.5)
    assert end_point(leak, true, known & (length > truth.MOVING_PX)).still != found.still
    unknown = end_point(leak, true, ~known)
    assert np.isnan([unknown.moving, unknown.motion, unknown.still]).all()


def test_a_wandering_head_does_not_change_what_is_performed() -> None:
    field = bump(0.3, 0.2)
    for flow in (field, field + wandering()):
        did = performance(flow, field + wandering(), EVERYWHERE)
        assert did.strength == pytest.approx(1) and did.likeness == pytest.approx(1)
    half = performance(0.5 * field - wandering(), field, EVERYWHERE)
    assert half.strength == pytest.approx(0.5) and half.likeness == pytest.approx(1)


def test_nothing_and_another_movement_perform_nothing() -> None:
    field = bump(0.5, 0.5)
    still = performance(0 * field, field, EVERYWHERE)
    assert still.strength == 0 and still.likeness == 0
    drift = performance(wandering(), field, EVERYWHERE)
    assert abs(drift.strength) < 1e-6
    other = performance(bump(-0.5, -0.5), field, EVERYWHERE)
    assert abs(other.strength) < 0.1 and abs(other.likeness) < 0.1
    opposite = performance(-field, field, EVERYWHERE)
    assert opposite.strength == pytest.approx(-1) and opposite.likeness == pytest.approx(-1)
    assert np.isnan(performance(field, wandering(), EVERYWHERE).strength)


def test_cells_without_weight_do_not_count() -> None:
    field, weight = bump(0.4, 0), EVERYWHERE.copy()
    weight[:, :8] = 0
    spoilt = field.copy()
    spoilt[:, :8] += 9
    assert performance(spoilt, field, weight).strength == pytest.approx(1)
    assert performance(spoilt, field, EVERYWHERE).strength != pytest.approx(1, abs=0.01)


def test_the_true_course_is_perfect_and_a_late_one_is_not() -> None:
    numbers = list(range(40))
    true = np.exp(-((np.arange(40) - 20) ** 2) / 50)
    found = course(true, true, numbers, 20)
    assert found == truth.Course(pytest.approx(1), pytest.approx(1), 0)
    late = course(np.roll(true, 3), true, numbers, 20)
    assert late.apex_error_frames == 3 and late.correlation < 0.95
    weak = course(0.4 * true + 0.1, true, numbers, 20)
    assert weak.correlation == pytest.approx(1) and weak.gain == pytest.approx(0.4) and weak.apex_error_frames == 0
    still = course(0 * true, true, numbers, 20)
    assert still.correlation == still.gain == 0 and still.apex_error_frames == 20


def test_frames_are_counted_by_their_numbers() -> None:
    assert course([0, 1, 3, 1], [0, 2, 1, 0], [0, 4, 5, 12], 4).apex_error_frames == 1
    with pytest.raises(ShapeError, match="2 strengths"):
        course([0, 1], [0, 1, 0], [0, 1, 2], 1)


def lines() -> np.ndarray:
    """An edge map: a ring and a bar, soft."""
    down, across = np.mgrid[0:64, 0:64].astype(float)
    ring = np.abs(np.hypot(across - 30, down - 34) - 15)
    bar = np.abs(down - 8)
    return np.exp(-(ring**2) / 4) + np.exp(-(bar**2) / 4)


def test_true_edges_score_one_and_shuffled_ones_do_not() -> None:
    true = lines().clip(0, 1)
    assert edge_f_score(true, true) == 1 and edge_f_score(true, true, tolerance=0) == 1
    order = np.random.default_rng(3).permutation(true.size)
    assert edge_f_score(true.ravel()[order].reshape(true.shape), true) < 0.6
    assert edge_f_score(0 * true, true) == 0 and np.isnan(edge_f_score(true, 0 * true))


def test_one_cell_is_near_enough_and_three_are_not() -> None:
    true = np.tile(np.exp(-((np.arange(64) % 16 - 8.0) ** 2) / 4), (64, 1))
    assert edge_f_score(np.roll(true, 1, 1), true) > 0.95
    assert edge_f_score(np.roll(true, 3, 1), true) < 0.05
    assert edge_f_score(np.roll(true, 1, 1), true, tolerance=0) < 0.05


def test_ridges_are_lines_not_areas() -> None:
    top = ridges(np.tile(np.exp(-((np.arange(32) - 12.0) ** 2) / 20), (32, 1)), 0.35)
    assert top[:, 12].all() and top.sum() == 32
    assert not ridges(np.full((32, 32), 0.9), 0.35).any()
    assert not ridges(0.3 * lines(), 0.35).any()


def test_a_still_face_does_not_jitter() -> None:
    kp = np.random.default_rng(1).uniform(-1, 1, (1, 10, 2)).repeat(50, 0)
    assert jitter_px(kp) == pytest.approx(0, abs=1e-9)
    kp[::2, :, 0] += 2 / truth.SIZE
    assert jitter_px(kp) == pytest.approx(0.5)


def test_what_is_carried_along_the_flow_keeps_its_structure() -> None:
    target, way = face(1), 3 * bump(0, 0, 64)
    grid = identity_grid(64, 64, "centres", dtype=torch.float64) + torch.from_numpy(way) * (2 / truth.SIZE)
    carried = warp_cubic(torch.from_numpy(target)[None].double(), grid[None])[0].round().clamp(0, 255).byte().numpy()
    assert truth.structure_kept(carried, target, way) > 0.99
    assert truth.structure_kept(carried, target, -way) < truth.structure_kept(carried, target, way) - 0.005
    assert truth.structure_kept(face(2), target, way) < 0.5
    assert np.isnan(truth.structure_kept(carried, target, way + 1e4))


def test_colours_are_the_target_s_or_the_driver_s() -> None:
    target, driver = face(1), face(2)
    assert truth.colour_pull(target, target, driver) == 0
    assert truth.colour_pull(driver, target, driver) == 1
    half = np.where(np.arange(64)[:, None, None] < 32, target, driver)
    assert 0.3 < truth.colour_pull(half, target, driver) < 0.7
    assert np.isnan(truth.colour_pull(target, target, target))


def test_cells_are_means_of_what_is_known() -> None:
    field = np.arange(16.0).reshape(4, 4, 1)
    known = np.ones((4, 4), bool)
    known[0, 0] = False
    cells, share = truth.to_cells(field, known, 2)
    assert cells[0, 0, 0] == pytest.approx((1 + 4 + 5) / 3) and share[0, 0] == 0.75
    assert cells[1, 1, 0] == pytest.approx((10 + 11 + 14 + 15) / 4) and share[1, 1] == 1


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        end_point(bump(0, 0), bump(0, 0)[1:], EVERYWHERE > 0)
    with pytest.raises(ShapeError, match="one shape"):
        edge_f_score(np.zeros((4, 4)), np.zeros((5, 4)))
