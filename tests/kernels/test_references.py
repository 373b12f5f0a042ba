"""The references against slow loops written from the definitions: grids, keypoints, reduction, attention, pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eamfmeg_fast.kernels.antialias_down.reference import antialias_down, gaussian_kernel
from eamfmeg_fast.kernels.edge_attention.reference import strip_attention
from eamfmeg_fast.kernels.geometry import affine_of, affine_ratio, axis, identity_grid
from eamfmeg_fast.kernels.soft_argmax.reference import soft_argmax
from eamfmeg_fast.kernels.to_image.reference import to_image
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv

EXACT = 1e-12
GRIDS = ("corners", "centres")
few = settings(max_examples=15, deadline=None, derandomize=True)


def position(i: int, length: int, pixel_grid: str) -> float:
    """Where pixel i of an axis is."""
    if length == 1:
        return 0.0
    return -1 + 2 * i / (length - 1) if pixel_grid == "corners" else -1 + (2 * i + 1) / length


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def close(got: torch.Tensor, want: np.ndarray, limit: float = EXACT) -> None:
    assert got.dtype == torch.float64 and tuple(got.shape) == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=limit)


@pytest.mark.parametrize("pixel_grid", GRIDS)
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_axis(length: int, pixel_grid: str) -> None:
    got = axis(length, pixel_grid, dtype=torch.float64)
    close(got, np.array([position(i, length, pixel_grid) for i in range(length)]))


def test_the_two_axes_by_hand() -> None:
    assert axis(3, "corners", dtype=torch.float64).tolist() == [-1, 0, 1]
    assert axis(4, "centres", dtype=torch.float64).tolist() == [-0.75, -0.25, 0.25, 0.75]


@pytest.mark.parametrize("pixel_grid", GRIDS)
def test_grid_is_x_then_y(pixel_grid: str) -> None:
    grid = identity_grid(3, 5, pixel_grid, dtype=torch.float64)
    assert grid.shape == (3, 5, 2)
    assert grid[2, 1].tolist() == pytest.approx([position(1, 5, pixel_grid), position(2, 3, pixel_grid)])


def test_pixels_of_maps_of_all_sizes_agree_in_the_centres_grid() -> None:
    """A cell of the small map is the mean of its pixels; in the corners grid it is not."""
    for pixel_grid, agrees in (("centres", True), ("corners", False)):
        large, small = (axis(n, pixel_grid, dtype=torch.float64) for n in (32, 8))
        assert torch.allclose(large.reshape(8, 4).mean(1), small, atol=EXACT) is agrees


@few
@given(st.integers(0, 10**6))
def test_affine_ratio_is_times_the_inverse(seed: int) -> None:
    a, b = numbers(seed, 2, 5, 2, 2) + 2 * np.eye(2)
    b = b[np.abs(np.linalg.det(b)) > 0.2]
    close(affine_ratio(torch.from_numpy(a[: len(b)]), torch.from_numpy(b)), a[: len(b)] @ np.linalg.inv(b), 1e-10)


@few
@given(st.integers(0, 10**6))
def test_equal_matrices_give_the_identity_to_the_last_bit(seed: int) -> None:
    m = torch.from_numpy(numbers(seed, 64, 2, 2)).float()
    assert torch.equal(affine_ratio(m, m), torch.eye(2).expand(64, 2, 2))


def test_affine_of_is_the_map_from_driving_to_target() -> None:
    kp_t, kp_d = numbers(1, 1, 3, 2), numbers(2, 1, 3, 2)
    jac_t, jac_d = numbers(3, 1, 3, 2, 2) + 2 * np.eye(2), numbers(4, 1, 3, 2, 2) + 2 * np.eye(2)
    got = affine_of(*(torch.from_numpy(x) for x in (kp_t, jac_t, kp_d, jac_d))).numpy()
    z = np.array([0.3, -0.8])
    for k in range(3):
        want = kp_t[0, k] + jac_t[0, k] @ np.linalg.inv(jac_d[0, k]) @ (z - kp_d[0, k])
        np.testing.assert_allclose(got[0, k, :, :2] @ z + got[0, k, :, 2], want, atol=1e-10)


@pytest.mark.parametrize("pixel_grid", GRIDS)
def test_soft_argmax_against_loops(pixel_grid: str) -> None:
    height, width, count = 4, 5, 3
    logits, maps = numbers(5, 1, height, width, count), numbers(6, 1, height, width, count, 2, 2)
    kp, jacobian = np.zeros((1, count, 2)), np.zeros((1, count, 2, 2))
    for k in range(count):
        weight = np.exp(logits[0, :, :, k] / 0.3)
        weight /= weight.sum()
        for i in range(height):
            for j in range(width):
                kp[0, k, 0] += weight[i, j] * position(j, width, pixel_grid)
                kp[0, k, 1] += weight[i, j] * position(i, height, pixel_grid)
                jacobian[0, k] += weight[i, j] * maps[0, i, j, k]
    got = soft_argmax(torch.from_numpy(logits), torch.from_numpy(maps), 0.3, pixel_grid)
    close(got[0], kp)
    close(got[1], jacobian)


@few
@given(st.integers(1, 6), st.integers(1, 6), st.data(), st.sampled_from(GRIDS))
def test_one_hot_logits_give_that_pixel(height: int, width: int, data: st.DataObject, pixel_grid: str) -> None:
    i, j = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    logits = torch.zeros(1, height, width, 1, dtype=torch.float64)
    logits[0, i, j] = 80
    maps = torch.from_numpy(numbers(7, 1, height, width, 1, 2, 2))
    kp, jacobian = soft_argmax(logits, maps, 0.1, pixel_grid)
    close(kp[0, 0], np.array([position(j, width, pixel_grid), position(i, height, pixel_grid)]))
    close(jacobian[0, 0], maps[0, i, j, 0].numpy())


@pytest.mark.parametrize(("even", "size"), [(False, 13), (True, 14)])
def test_gaussian_kernel(even: bool, size: int) -> None:
    """At a reduction by four: 13 taps (14 between pixels), standard deviation 1.5."""
    kernel = gaussian_kernel(0.25, even)
    offset = np.arange(size) - (size - 1) / 2
    line = np.exp(-(offset**2) / (2 * 1.5**2))
    want = np.outer(line, line)
    assert kernel.shape == (size, size) and kernel.dtype == torch.float32
    np.testing.assert_allclose(kernel.numpy(), want / want.sum(), atol=1e-7)


def reduce_slowly(picture: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Each output pixel is a weighted mean around its centre; what lies outside is black."""
    height, width, channels = picture.shape
    size = len(kernel)
    shift = 0.0 if size % 2 else (stride - 1) / 2
    out = np.zeros((height // stride, width // stride, channels))
    for i in range(height // stride):
        for j in range(width // stride):
            for a in range(size):
                for b in range(size):
                    y = round(stride * i + shift + a - (size - 1) / 2)
                    x = round(stride * j + shift + b - (size - 1) / 2)
                    if 0 <= y < height and 0 <= x < width:
                        out[i, j] += kernel[a, b] * picture[y, x]
    return out


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (4, 2), (5, 4), (6, 4), (2, 4)])
def test_antialias_down_against_loops(size: int, stride: int) -> None:
    picture, kernel = numbers(8, 8, 12, 2), np.abs(numbers(9, size, size))
    got = antialias_down(torch.from_numpy(picture)[None], torch.from_numpy(kernel), stride)
    close(got[0], reduce_slowly(picture, kernel, stride))


@pytest.mark.parametrize(("even", "centre"), [(False, 0.0), (True, 1.5)])
def test_where_the_pixels_of_the_thumbnail_are(even: bool, centre: float) -> None:
    """A ramp, reduced, shows the place that each output pixel looks at."""
    ramp = torch.arange(64, dtype=torch.float64)
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)], dim=-1)[None]
    out = antialias_down(picture, gaussian_kernel(0.25, even).double(), 4)
    assert out.shape == (1, 16, 16, 2)
    assert out[0, 5, 9].tolist() == pytest.approx([4 * 9 + centre, 4 * 5 + centre], abs=1e-4)


def test_antialias_down_takes_bytes() -> None:
    picture = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)
    kernel = gaussian_kernel(0.25, True)
    out = antialias_down(picture, kernel, 4)
    assert out.dtype == torch.float32 and torch.equal(out, antialias_down(picture.float() / 255, kernel, 4))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "strip_rows", "width"), [(4, 2, 3), (3, 1, 2), (4, 4, 2)])
def test_strip_attention_against_loops(rows: int, strip_rows: int, width: int, transposed: bool) -> None:
    query, key, value = numbers(10, rows, width, 2), numbers(11, rows, width, 2), numbers(12, rows, width, 3)
    strips, n = rows // strip_rows, strip_rows * width
    out, scores = np.zeros_like(value), np.zeros((strips, n, n))
    for s in range(strips):
        pixels = [(s * strip_rows + i // width, i % width) for i in range(n)]
        for i, at in enumerate(pixels):
            row = np.exp([query[at] @ key[other] for other in pixels])
            scores[s, i] = row / row.sum()
        for i, at in enumerate(pixels):
            for j, other in enumerate(pixels):
                out[at] += (scores[s, j, i] if transposed else scores[s, i, j]) * value[other]
    args = [torch.from_numpy(x)[None] for x in (query, key, value)]
    got, attention = strip_attention(*args, strip_rows, transposed)
    close(got[0], out)
    close(attention[0], scores)


def test_the_released_sum_is_another_one() -> None:
    args = [torch.from_numpy(numbers(seed, 1, 4, 4, 3)) for seed in (13, 14, 15)]
    ordinary, released = (strip_attention(*args, 2, transposed)[0] for transposed in (False, True))
    assert (ordinary - released).abs().max() > 0.5


@few
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.booleans())
def test_upsample_conv_against_loops(height: int, width: int, inner: int, outer: int, biased: bool) -> None:
    features, weight, bias = numbers(16, height, width, inner), numbers(17, outer, inner, 3, 3), numbers(18, outer)
    want = np.zeros((2 * height, 2 * width, outer)) + (bias if biased else 0)
    for y in range(2 * height):
        for x in range(2 * width):
            for a in range(3):
                for b in range(3):
                    v, u = y + a - 1, x + b - 1
                    if 0 <= v < 2 * height and 0 <= u < 2 * width:
                        want[y, x] += weight[:, :, a, b] @ features[v // 2, u // 2]
    tensors = torch.from_numpy(features)[None], torch.from_numpy(weight), torch.from_numpy(bias) if biased else None
    close(upsample_conv(*tensors)[0], want)


def test_every_byte_comes_back() -> None:
    for dtype in (torch.float32, torch.float64):
        levels = torch.arange(256).reshape(1, 16, 16, 1)
        out = to_image(levels.to(dtype) / 255)
        assert out.dtype == torch.uint8 and torch.equal(out.long(), levels)


def test_halves_go_up_and_the_rest_is_clamped() -> None:
    """0.3 and 0.7 are 76.5 and 178.5 of 255: rounding to even would give 76 and 178."""
    given_values = torch.tensor([0.3, 0.7, 0.2999, 0.3001, -0.4, 1.7, 1.0, 0.0], dtype=torch.float64)
    assert to_image(given_values).tolist() == [77, 179, 76, 77, 0, 255, 255, 0]
