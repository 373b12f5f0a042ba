"""The references of warping and motion against slow loops written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eamfmeg_fast.kernels.dense_motion.reference import dense_motion
from eamfmeg_fast.kernels.geometry import affine_of, displacement_px, identity_grid
from eamfmeg_fast.kernels.sparse_motion.reference import heatmap_difference, sparse_grids, sparse_motion
from eamfmeg_fast.kernels.warp_occlude.reference import warp, warp_cubic, warp_occlude

EXACT = 1e-12
GRIDS = ("corners", "centres")
BAD = (math.nan, math.inf, -math.inf)
few = settings(max_examples=15, deadline=None, derandomize=True)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def place(coordinate: float, length: int, align_corners: bool) -> float:
    """The pixel, counted from 0, that a coordinate in [-1, 1] means."""
    return (coordinate + 1) / 2 * (length - 1) if align_corners else ((coordinate + 1) * length - 1) / 2


def bilinear(picture: np.ndarray, x: float, y: float, align_corners: bool) -> np.ndarray:
    """Each pixel's share is a tent of one pixel's width around it."""
    height, width, channels = picture.shape
    out = np.zeros(channels)
    if not (math.isfinite(x) and math.isfinite(y)):
        return out
    u, v = place(x, width, align_corners), place(y, height, align_corners)
    for i in range(height):
        for j in range(width):
            out += max(0.0, 1 - abs(u - j)) * max(0.0, 1 - abs(v - i)) * picture[i, j]
    return out


def keys(t: float, a: float = -0.75) -> float:
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def cubic(picture: np.ndarray, x: float, y: float, align_corners: bool) -> np.ndarray:
    height, width, channels = picture.shape
    u, v = place(x, width, align_corners), place(y, height, align_corners)
    out = np.zeros(channels)
    for i in range(math.floor(v) - 1, math.floor(v) + 3):
        for j in range(math.floor(u) - 1, math.floor(u) + 3):
            pixel = picture[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
            out += keys(u - j) * keys(v - i) * pixel
    return out


def over(sample, picture: np.ndarray, flow: np.ndarray, align_corners: bool) -> np.ndarray:
    rows = [[sample(picture, x, y, align_corners) for x, y in row] for row in flow]
    return np.array(rows)


def both(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(x)[None] for x in arrays]


@pytest.mark.parametrize("align_corners", [False, True])
@few
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_warp_against_loops(align_corners: bool, height: int, width: int, channels: int, seed: int) -> None:
    picture, flow = numbers(seed, height, width, channels), numbers(seed + 1, 4, 3, 2)
    got = warp(*both(picture, flow), align_corners)[0].numpy()
    np.testing.assert_allclose(got, over(bilinear, picture, flow, align_corners), atol=EXACT)


@pytest.mark.parametrize("align_corners", [False, True])
def test_warp_at_exactly_the_edges(align_corners: bool) -> None:
    """At +-1 lies the last pixel's centre, or its outer edge, where half of it is left in each direction."""
    picture = 1 + np.abs(numbers(1, 3, 4, 1))
    flow = np.array([[[-1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [1.0, 1.0]]])
    got = warp(*both(picture, flow), align_corners)[0].numpy()
    share = 1 if align_corners else 0.25
    np.testing.assert_allclose(got, share * picture[[[0], [2]], [[0, 3]]], atol=EXACT)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
def test_non_finite_flow_is_outside(align_corners: bool, bad: float, side: int, size: tuple[int, int]) -> None:
    for dtype in (torch.float32, torch.float64):
        flow = torch.zeros(1, 2, 9, 2, dtype=dtype)
        flow[0, 1, :, side] = bad
        out = warp(torch.ones(1, *size, 2, dtype=dtype), flow, align_corners)
        assert (out[0, 1] == 0).all() and (out[0, 0] == 1).all()


@pytest.mark.parametrize("align_corners", [False, True])
def test_flow_far_away_is_outside(align_corners: bool) -> None:
    """Up to the largest number there is, alone and in the vectorised path."""
    for far in (1.5, 100.0, 1e4, 1e30, 3e38, -3e38):
        for count in (1, 64):
            flow = torch.full((1, 1, count, 2), far)
            assert (warp(torch.ones(1, 4, 5, 2), flow, align_corners) == 0).all(), far


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0, 1.0])
def test_a_picture_of_one_pixel(value: float) -> None:
    picture, flow = torch.full((1, 1, 1, 1), 7.0), torch.full((1, 1, 1, 2), value)
    assert warp(picture, flow, True).item() == 7
    assert warp(picture, flow, False).item() == pytest.approx(7 * (1 - abs(value) / 2) ** 2)


@pytest.mark.parametrize(("pixel_grid", "align_corners"), [("corners", True), ("centres", False)])
def test_each_grid_has_the_sampling_that_it_rests_in(pixel_grid: str, align_corners: bool) -> None:
    picture = torch.rand(1, 16, 8, 3, dtype=torch.float64)
    still = identity_grid(16, 8, pixel_grid, dtype=torch.float64)[None]
    assert torch.allclose(warp(picture, still, align_corners), picture, atol=EXACT)
    assert torch.allclose(warp_cubic(picture, still, align_corners), picture, atol=EXACT)
    assert (warp(picture, still, not align_corners) - picture).abs().max() > 0.05


def test_warp_moves_the_right_way() -> None:
    """Backward: the output takes its value from where the flow points, here one pixel to the right."""
    picture = torch.arange(20.0, dtype=torch.float64).reshape(1, 4, 5, 1)
    flow = identity_grid(4, 5, "centres", dtype=torch.float64)[None].clone()
    flow[..., 0] += 2 / 5
    out = warp(picture, flow)
    assert torch.allclose(out[:, :, :4], picture[:, :, 1:], atol=EXACT) and (out[:, :, 4] < 1e-9).all()


def test_warp_occlude_multiplies_each_output_pixel() -> None:
    picture, flow, occlusion = numbers(2, 3, 4, 2), numbers(3, 5, 2, 2) / 2, np.abs(numbers(4, 5, 2))
    got = warp_occlude(*both(picture, flow, occlusion))[0].numpy()
    np.testing.assert_allclose(got, over(bilinear, picture, flow, False) * occlusion[..., None], atol=EXACT)


@pytest.mark.parametrize("align_corners", [False, True])
def test_warp_cubic_against_loops(align_corners: bool) -> None:
    picture, flow = numbers(5, 5, 6, 2), 0.8 * numbers(6, 6, 5, 2)
    assert (np.abs(flow) > 1).any() and (np.abs(flow) < 1).any()
    got = warp_cubic(*both(picture, flow), align_corners)[0].numpy()
    np.testing.assert_allclose(got, over(cubic, picture, flow, align_corners), atol=1e-10)


def test_warp_cubic_at_rest_changes_no_bit() -> None:
    for size in (64, 256):
        picture = torch.rand(1, size, size, 1)
        still = identity_grid(size, size, "centres", dtype=torch.float32)[None]
        assert torch.equal(warp_cubic(picture, still), picture)


@pytest.mark.parametrize("bad", [*BAD, 3e38, -3e38])
def test_warp_cubic_repeats_the_border_far_outside(bad: float) -> None:
    flow = torch.zeros(1, 1, 8, 2)
    flow[..., 1] = bad
    picture = torch.arange(12.0).reshape(1, 4, 3, 1)
    want = picture[0, 0 if bad < 0 else 3, 1, 0]
    assert torch.allclose(warp_cubic(picture, flow), want.expand(1, 1, 8, 1))


def keypoints(seed: int, count: int = 3) -> dict[str, np.ndarray]:
    return {
        "kp_target": numbers(seed, count, 2) / 2,
        "jacobian_target": np.eye(2) + numbers(seed + 1, count, 2, 2) / 4,
        "kp_driving": numbers(seed + 2, count, 2) / 2,
        "jacobian_driving": np.eye(2) + numbers(seed + 3, count, 2, 2) / 4,
    }


def target_of(z: np.ndarray, k: int, points: dict[str, np.ndarray]) -> np.ndarray:
    """Where motion k takes the driving point z; 0 is the background, which stays."""
    if k == 0:
        return z
    turn = points["jacobian_target"][k - 1] @ np.linalg.inv(points["jacobian_driving"][k - 1])
    return points["kp_target"][k - 1] + turn @ (z - points["kp_driving"][k - 1])


def centre(i: int, j: int, height: int, width: int, pixel_grid: str) -> np.ndarray:
    if pixel_grid == "corners":
        return np.array([2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1])
    return np.array([(2 * j + 1) / width - 1, (2 * i + 1) / height - 1])


@pytest.mark.parametrize(("pixel_grid", "align_corners"), [("corners", False), ("centres", False), ("corners", True)])
def test_sparse_motion_against_loops(pixel_grid: str, align_corners: bool) -> None:
    """Channels: for each motion its heatmap, then the colours of the thumbnail that it moved."""
    height, width, variance, points = 4, 5, 0.07, keypoints(20)
    thumbnail = numbers(7, height, width, 3)
    want = np.zeros((height, width, 16))
    for i in range(height):
        for j in range(width):
            z = centre(i, j, height, width, pixel_grid)
            for k in range(4):
                if k:
                    near, far = (((z - points[n][k - 1]) ** 2).sum() for n in ("kp_driving", "kp_target"))
                    want[i, j, 4 * k] = math.exp(-near / (2 * variance)) - math.exp(-far / (2 * variance))
                want[i, j, 4 * k + 1 : 4 * k + 4] = bilinear(thumbnail, *target_of(z, k, points), align_corners)
    tensors = dict(zip(points, both(*points.values()), strict=True))
    got = sparse_motion(
        *both(thumbnail), tensors["kp_target"], tensors["kp_driving"], affine_of(**tensors), variance, pixel_grid,
        align_corners,
    )  # fmt: skip
    np.testing.assert_allclose(got[0].numpy(), want, atol=EXACT)


def test_heatmap_is_positive_at_the_driving_keypoint() -> None:
    kp_target, kp_driving = (torch.tensor([[[x, 0.0]]], dtype=torch.float64) for x in (-0.5, 0.5))
    heat = heatmap_difference(kp_target, kp_driving, 1, 8, 0.01, "centres")
    assert heat.shape == (1, 2, 1, 8) and (heat[0, 0] == 0).all()
    assert heat[0, 1, 0, 5:7].min() > 0.3 and heat[0, 1, 0, 1:3].max() < -0.3


@pytest.mark.parametrize("pixel_grid", GRIDS)
def test_dense_motion_is_the_weighted_sum_of_the_sparse_ones(pixel_grid: str) -> None:
    height, width, points = 3, 4, keypoints(30)
    logits, hidden = numbers(8, height, width, 4), numbers(9, height, width)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    flow = np.zeros((height, width, 2))
    for i in range(height):
        for j in range(width):
            z = centre(i, j, height, width, pixel_grid)
            flow[i, j] = sum(weights[i, j, k] * target_of(z, k, points) for k in range(4))
    affine = affine_of(**dict(zip(points, both(*points.values()), strict=True)))
    mask, got, occlusion = dense_motion(*both(logits, hidden), affine, pixel_grid)
    np.testing.assert_allclose(mask[0].numpy(), weights, atol=EXACT)
    np.testing.assert_allclose(got[0].numpy(), flow, atol=EXACT)
    np.testing.assert_allclose(occlusion[0].numpy(), 1 / (1 + np.exp(-hidden)), atol=EXACT)
    grids = sparse_grids(affine, height, width, pixel_grid)
    assert torch.allclose(got[0], (mask[0].permute(2, 0, 1)[..., None] * grids[0]).sum(0), atol=EXACT)


@pytest.mark.parametrize("pixel_grid", GRIDS)
@pytest.mark.parametrize("spread", [0.0, 3.0, 60.0])
def test_nothing_moves_when_nothing_moved(pixel_grid: str, spread: float) -> None:
    """To the last bit, in float32, whatever the masks."""
    kp, jacobian = torch.randn(2, 10, 2), torch.eye(2) + torch.randn(2, 10, 2, 2) / 3
    affine = affine_of(kp, jacobian, kp.clone(), jacobian.clone())
    flow = dense_motion(spread * torch.randn(2, 64, 64, 11), torch.zeros(2, 64, 64), affine, pixel_grid)[1]
    still = identity_grid(64, 64, pixel_grid, dtype=torch.float32)
    assert torch.equal(flow, still.expand_as(flow))
    grids = sparse_grids(affine, 64, 64, pixel_grid)
    assert torch.equal(grids, still.expand_as(grids))


def test_displacement_counts_pixels_of_the_picture() -> None:
    for grid in ("corners", "centres"):
        still = identity_grid(4, 8, grid, dtype=torch.float64)
        assert torch.equal(displacement_px(still, grid, 256), torch.zeros(4, 8, 2, dtype=torch.float64))
        moved = displacement_px(still + torch.tensor([2 / 256, -4 / 256], dtype=torch.float64), grid, 256)
        assert torch.allclose(moved, torch.tensor([1.0, -2.0], dtype=torch.float64).expand(4, 8, 2))
