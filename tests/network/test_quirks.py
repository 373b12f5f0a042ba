"""Where the released code, the published description and ordinary practice differ, each alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from eamfmeg_fast.config import PRESETS, HourglassConfig, NetworkConfig
from eamfmeg_fast.engine import Engine
from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.network import Keypoints, Network, build_network, fill_seeded, move
from eamfmeg_fast.network.attention import EdgeAttention
from eamfmeg_fast.network.relative import hull_area, hull_scale

SHRUNK = {
    "keypoint": HourglassConfig(4, 2, 8),
    "dense_motion": HourglassConfig(4, 2, 8),
    "generator_expansion": 4,
    "residual_blocks": 1,
    "num_kp": 5,
    "size": 64,
}


def tiny(preset: str, **changes: object) -> NetworkConfig:
    """A preset's arithmetic in a network of a few thousand weights."""
    return replace(PRESETS[preset], **(SHRUNK | changes))


def attention_of(preset: str, channels: int = 6) -> EdgeAttention:
    module = EdgeAttention(replace(PRESETS[preset], attention_dim=3), channels).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) / 2)
    return module


def pair(height: int = 8, width: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 6, height, width, dtype=torch.float64), torch.rand(2, 1, height, width, dtype=torch.float64)


def by_hand(module: EdgeAttention, x: Tensor, edge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scores of features and of edges, and the values, channels first and cut into strips of four rows."""

    def strips(y: Tensor) -> Tensor:
        return torch.stack([y[:, :, 4 * s : 4 * s + 4].flatten(2) for s in range(y.shape[2] // 4)], dim=1)

    def project(conv: torch.nn.Conv2d, y: Tensor) -> Tensor:
        return strips(torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], y) + conv.bias[:, None, None])

    query = project(module.query_conv, x) if module.mode == "released" else project(module.query_edge_conv, edge)
    scores = query.transpose(-1, -2) @ project(module.key_conv, x)
    edges = torch.zeros_like(scores)
    if module.mode == "released":
        edges = query.transpose(-1, -2) @ project(module.key_edge_conv, edge)
    return scores, edges, project(module.value_conv, x)


@pytest.mark.parametrize("preset", ["eamfmeg", "small"])
def test_attention_by_hand(preset: str) -> None:
    """Released: Q K + Q K_e, then V A. Edge-query: the edge asks, then V A^T."""
    module, (x, edge) = attention_of(preset), pair()
    scores, edges, value = by_hand(module, x, edge)
    weights = torch.softmax(scores + edges, dim=-1)
    ways = {"eamfmeg": value @ weights, "small": value @ weights.transpose(-1, -2)}
    got = module(x, edge)
    assert torch.allclose(got.attention, weights, atol=1e-12)
    drawn = ((got.features - x) / module.gamma).unflatten(2, (2, 4)).permute(0, 2, 1, 3, 4).flatten(3)
    assert torch.allclose(drawn, ways.pop(preset), atol=1e-9)
    assert (drawn - ways.popitem()[1]).abs().max() > 0.1


def test_two_keys_are_their_sum() -> None:
    """Q K + Q K_e is Q (K + K_e): and the edge does matter in it."""
    module, (x, edge) = attention_of("eamfmeg"), pair()
    scores, edges, _ = by_hand(module, x, edge)
    got = module(x, edge).attention
    assert torch.allclose(got, torch.softmax(scores + edges, dim=-1), atol=1e-12)
    assert (got - torch.softmax(scores, dim=-1)).abs().max() > 1e-2


@pytest.mark.parametrize("preset", ["eamfmeg", "small"])
def test_heads_are_strips_of_four_rows(preset: str) -> None:
    """A pixel of rows 0 to 3 is seen in all of them and nowhere else."""
    module, (x, edge) = attention_of(preset), pair(12)
    changed, changed_edge = x.clone(), edge.clone()
    changed[:, :, 3, 2] += 1
    changed_edge[:, :, 3, 2] += 1
    a, b = module(x, edge), module(changed, changed_edge)
    assert torch.equal(a.features[:, :, 4:], b.features[:, :, 4:])
    assert torch.equal(a.attention[:, 1:], b.attention[:, 1:])
    assert ((a.features - b.features)[:, :, :4].abs().amax((0, 1)) > 0).all()
    assert a.attention.shape == (2, 3, 20, 20)


@pytest.mark.parametrize("height", [1, 6, 63])
def test_heights_that_are_no_whole_strips_are_refused(height: int) -> None:
    with pytest.raises(ShapeError, match=f"height {height}.*multiple of 4"):
        attention_of("small")(*pair(height))


def test_without_gamma_there_is_no_attention() -> None:
    module, (x, edge) = attention_of("small"), pair()
    torch.nn.init.zeros_(module.gamma)
    assert torch.equal(module(x, edge).features, x)


def random_points(batch: int = 2) -> Keypoints:
    eye = torch.eye(2, dtype=torch.float64)
    return Keypoints(
        torch.randn(batch, 10, 2, dtype=torch.float64), eye + torch.randn(batch, 10, 2, 2, dtype=torch.float64) / 4
    )


def test_gain_is_for_displacements_alone() -> None:
    target, initial, driving = (random_points() for _ in range(3))
    once, thrice = (move(target, initial, driving, gain=gain) for gain in (1.0, 3.0))
    assert torch.allclose(once.kp, target.kp + driving.kp - initial.kp)
    assert torch.allclose(thrice.kp, target.kp + 3 * (driving.kp - initial.kp))
    assert torch.equal(once.jacobian, thrice.jacobian)
    want = driving.jacobian.numpy() @ np.linalg.inv(initial.jacobian.numpy()) @ target.jacobian.numpy()
    np.testing.assert_allclose(once.jacobian.numpy(), want, atol=1e-9)


def test_hull_scale_multiplies_the_gain() -> None:
    target, initial, driving = (random_points() for _ in range(3))
    moved = move(target, initial, driving, gain=2.0, adapt_scale=True)
    scale = hull_scale(target.kp, initial.kp)[:, None, None]
    assert torch.allclose(moved.kp, target.kp + 2 * scale * (driving.kp - initial.kp))
    assert torch.equal(moved.jacobian, move(target, initial, driving).jacobian)


def test_hull_scale_is_the_ratio_of_lengths() -> None:
    """A target twice as large moves twice as far."""
    kp = random_points().kp
    assert torch.allclose(hull_scale(2 * kp + 1, kp), torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.allclose(hull_scale(kp, 4 * kp[:1])[:1], torch.tensor([0.25], dtype=torch.float64))
    flat = torch.zeros_like(kp)
    assert (hull_scale(kp, flat) == 1).all() and (hull_scale(flat, kp) == 1).all()


def test_hull_area_by_hand() -> None:
    square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [1.0, 0.5], [1.0, 0.0], [2.0, 1.0]])
    assert hull_area(square) == 2
    assert hull_area(square[:2]) == 0 and hull_area(square[:1]) == 0


def test_hull_area_against_scipy() -> None:
    spatial = pytest.importorskip("scipy.spatial")
    for seed in range(20):
        points = np.random.default_rng(seed).standard_normal((3 + seed, 2))
        assert hull_area(torch.from_numpy(points)) == pytest.approx(spatial.ConvexHull(points).volume, rel=1e-12)


@cache
def tiny_network(**changes: object) -> Network:
    return fill_seeded(build_network(tiny("eamfmeg", **changes)))


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 255, (3, 8, 8, 3)).repeat(8, 1).repeat(8, 2)
    return list(low.astype(np.uint8))


def test_align_corners_is_an_option_that_matters() -> None:
    """It changes what the hourglass sees and what is drawn, not the keypoints."""
    traces = [Engine(tiny_network(align_corners=corners), device="cpu").trace(*pictures()) for corners in (False, True)]
    assert np.array_equal(traces[0]["kp_moved"], traces[1]["kp_moved"])
    assert np.array_equal(traces[0]["sparse_motion"], traces[1]["sparse_motion"])
    for name in ("sparse_warped", "flow", "features_warped", "edge_warped", "deformed", "prediction"):
        assert np.abs(traces[0][name] - traces[1][name]).max() > 1e-3, name


@pytest.mark.parametrize("gain", [None, 1.0])
def test_the_default_gain_of_eamfmeg_is_two_hull_scales(gain: float | None) -> None:
    engine = Engine(tiny_network(), device="cpu")
    target, initial, driving = (engine.detect(picture) for picture in pictures())
    moved = engine.moved(target, initial, driving, motion="relative", gain=gain)
    scale = (hull_area(target.kp[0]) / hull_area(initial.kp[0])) ** 0.5
    assert abs(scale - 1) > 1e-3
    want = target.kp + (gain or 2.0) * scale * (driving.kp - initial.kp)
    assert torch.allclose(moved.kp, want, atol=1e-6)


def test_absolute_motion_takes_the_driving_keypoints() -> None:
    engine = Engine(tiny_network(), device="cpu")
    target, initial, driving = (engine.detect(picture) for picture in pictures())
    assert engine.moved(target, initial, driving, motion="absolute", gain=3.0) is driving


def test_the_edge_does_not_learn_from_the_attention() -> None:
    """Upstream cuts the gradient there: the edge head learns from edges alone."""
    net = tiny_network()
    picture = torch.rand(1, 3, 64, 64)
    found = net.kp_detector(picture)
    edges = net.edges(found.features).detach().requires_grad_()
    points = found.keypoints
    motion = net.motion(net.kp_detector.down(picture), points, Keypoints(points.kp + 0.1, points.jacobian))
    drawn = net.render(picture, net.generator.encode(picture), edges, motion)
    assert torch.autograd.grad(drawn.prediction.sum(), edges, allow_unused=True)[0] is None
    assert drawn.attention is not None and not drawn.edge_warped.requires_grad


def test_skip_shows_the_warped_target_where_it_is_visible() -> None:
    net = fill_seeded(build_network(tiny("small")))
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = net.kp_detector(picture)
        points = found.keypoints
        motion = net.motion(net.kp_detector.down(picture), points, Keypoints(points.kp + 0.05, points.jacobian))
        features, edges = net.generator.encode(picture), net.edges(found.features)
        seen, hidden = (
            net.render(picture, features, edges, motion._replace(occlusion=torch.full_like(motion.occlusion, level)))
            for level in (1.0, 0.0)
        )
    assert torch.allclose(seen.prediction, seen.deformed.clamp(0, 1), atol=1e-6)
    assert (hidden.prediction - hidden.deformed).abs().max() > 0.1
