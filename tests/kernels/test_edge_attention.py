"""What is special about edge_attention: the network's own attention, its shortcuts, its fallback."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.kernels import registration
from eamfmeg_fast.kernels.edge_attention import OP, edge_attention
from eamfmeg_fast.kernels.edge_attention.reference import AttentionMode
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.registry import Sample
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import compare, judge, upcast
from eamfmeg_fast.network.attention import EdgeAttention

MODES: tuple[AttentionMode, ...] = ("released", "edge-query")
CHANNELS, DIM = 12, 32
MOST_PLACES = 2048
KEY, VALUE, FEATURES, EDGE, FLOW, OCCLUSION, EDGE_WEIGHT, KEY_BIAS, VALUE_BIAS = 1, 2, 3, 4, 5, 6, 7, 9, 10


def arguments(mode: str, seed: int, height: int = 4, width: int = 24, dim: int = DIM) -> list[Any]:
    """One strip of `height` x `width` pixels, wide enough for the edge's attention to be interpolated."""
    noise = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=noise)

    maps = [0.3 * draw(1, height, width, n) for n in (dim, dim, CHANNELS, CHANNELS)]
    flow = identity_grid(height, width, "centres", dtype=torch.float32)[None] + 0.05 * draw(1, height, width, 2)
    pixels = [torch.sigmoid(draw(1, height, width)), flow, torch.sigmoid(draw(1, height, width))]
    vectors = [0.3 * draw(n) for n in (dim, dim, dim, CHANNELS)]
    query = maps[0] if mode == "released" else None
    return [query, *maps[1:], *pixels, *vectors, torch.ones(1), height, mode, False]


def fault(args: list[Any]) -> str:
    return compare(edge_attention(*args), OP.reference(*args), OP.reference(*map(upcast, args))).reason


@pytest.mark.parametrize("mode", MODES)
def test_projections_at_rest_give_the_network_s_attention(mode: AttentionMode) -> None:
    """Projected first and gathered where everything is: what the module computes from the features."""
    config = dataclasses.replace(PRESETS["eamfmeg"], attention=mode)
    torch.manual_seed(3)
    module = EdgeAttention(config, CHANNELS).double()
    torch.nn.init.constant_(module.gamma, 0.7)
    features, edge = torch.randn(2, CHANNELS, 8, 6).double(), torch.rand(2, 1, 8, 6).double()

    def projected(conv: torch.nn.Conv2d) -> Tensor:
        return torch.nn.functional.conv2d(features, conv.weight).permute(0, 2, 3, 1)

    if mode == "released":
        query, edge_conv = projected(module.query_conv), module.key_edge_conv
        query_bias, key_bias = module.query_conv.bias, module.key_conv.bias + edge_conv.bias
    else:
        query, edge_conv = None, module.query_edge_conv
        query_bias, key_bias = edge_conv.bias, module.key_conv.bias
    got = edge_attention(
        query,
        projected(module.key_conv),
        projected(module.value_conv),
        features.permute(0, 2, 3, 1),
        edge[:, 0],
        identity_grid(8, 6, "centres", dtype=torch.float64).expand(2, -1, -1, -1),
        torch.ones(2, 8, 6).double(),
        edge_conv.weight.flatten(),
        query_bias,
        key_bias,
        module.value_conv.bias,
        module.gamma,
        config.strip_rows,
        mode,
    )
    torch.testing.assert_close(got.permute(0, 3, 1, 2), module(features, edge).features, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.2, 1.0, 3.0, 8.0, 20.0, 100.0])
def test_right_however_strong_the_edge_is(mode: AttentionMode, strength: float) -> None:
    """From one query for all pixels, over ever more nodes to interpolate between, to every pixel's own."""
    args = arguments(mode, seed=int(strength))
    args[EDGE_WEIGHT] *= strength
    assert not fault(args)


@pytest.mark.parametrize("strength", [0.05 * 1.25**i for i in range(12)])
def test_two_kinds_of_keys_are_the_hardest_to_interpolate(strength: float) -> None:
    """Half of the slopes at each end, values that tell the ends apart, edges at both ends, and nothing else."""
    args = arguments("edge-query", seed=4, width=72)
    kind = torch.sign(args[KEY][..., :1])
    args[KEY] = strength * torch.sign(args[EDGE_WEIGHT]) * kind
    args[VALUE], args[FEATURES] = kind.expand_as(args[VALUE]).clone(), torch.zeros_like(args[FEATURES])
    args[FLOW] = identity_grid(4, 72, "centres", dtype=torch.float32)[None]
    args[EDGE] = torch.linspace(0, 1, 4 * 72).view(1, 4, 72)
    args[OCCLUSION] = torch.ones_like(args[OCCLUSION])
    args[VALUE_BIAS] = torch.zeros_like(args[VALUE_BIAS])
    assert not fault(args)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_in_its_channel(mode: AttentionMode, value: float) -> None:
    args = arguments(mode, seed=5)
    args[VALUE][0, 2, 11, 3] = value
    got = edge_attention(*args)
    assert not fault(args)
    assert not got[..., 3].isfinite().any()
    assert got[..., torch.arange(CHANNELS) != 3].isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_the_key_s_bias_moves_no_weight(mode: AttentionMode) -> None:
    """The softmax takes away what all keys share; but a NaN is not lost."""
    args = arguments(mode, seed=6)
    before = edge_attention(*args)
    args[KEY_BIAS] = args[KEY_BIAS] + 50
    assert not fault(args)
    torch.testing.assert_close(edge_attention(*args), before, rtol=0, atol=1e-6)
    args[KEY_BIAS][1] = float("nan")
    assert edge_attention(*args).isnan().all()


def test_a_large_bias_of_the_values_costs_no_digits() -> None:
    """Weights add up to 1 over the keys, so that the bias comes out as it went in."""
    args = arguments("edge-query", seed=7)
    args[OCCLUSION] = torch.zeros_like(args[OCCLUSION])
    args[VALUE_BIAS] = args[VALUE_BIAS] * 1000
    want = args[VALUE_BIAS].expand(1, 4, 24, CHANNELS)
    if OP.rooms["cpu"].missing():
        pytest.skip("NOT RUN: the reference sums the bias with the values")
    assert torch.equal(edge_attention(*args), want)


@pytest.mark.parametrize("mode", MODES)
def test_runs_in_plain_pytorch_without_the_compiled_library(
    mode: AttentionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(mode, seed=8)
    monkeypatch.setattr(registration, "why_missing", lambda name: "not built")
    assert torch.equal(edge_attention(*args), OP.reference(*args))


def test_small_maps_in_any_memory_order() -> None:
    args = arguments("released", seed=9)
    want = edge_attention(*args)
    for i in (EDGE, FLOW, OCCLUSION):
        args[i] = args[i].transpose(1, 2).contiguous().transpose(1, 2)
    args[VALUE_BIAS] = args[VALUE_BIAS].repeat_interleave(2)[::2]
    assert torch.equal(edge_attention(*args), want)


@pytest.mark.parametrize("dim", [256, 257, 300, 2100])
def test_cuda_takes_keys_of_more_channels_than_a_warp_reads_at_once(dim: int, cuda_on_host: SideLibrary) -> None:
    args = arguments("edge-query", seed=10, dim=dim)
    assert not judge(OP, OP.rooms["cuda"], Sample("", tuple(args)), lib=cuda_on_host.with_mutant(0)).fault


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beyond", [{"dim": DIM + 1}, {"height": 1, "width": MOST_PLACES + 1}])
def test_beyond_its_limits_only_the_cpu_room_takes_a_call(mode: AttentionMode, beyond: dict[str, int]) -> None:
    within, args = arguments(mode, 11, 1, MOST_PLACES), arguments(mode, seed=11, **beyond)
    for name, room in OP.rooms.items():
        assert room.takes(*within)
        assert room.takes(*args) == (name == "cpu")
    assert not fault(args)


@pytest.mark.parametrize(
    ("name", "shape"), [(KEY, (1, 1, 2**24 + 1, DIM)), (KEY, (1, 2**16, 2**15, DIM)), (OCCLUSION, (2**31, 1, 1))]
)
def test_gpu_rooms_leave_alone_what_they_cannot_count(name: int, shape: tuple[int, ...]) -> None:
    args = [x.to("meta") if isinstance(x, Tensor) else x for x in arguments("edge-query", seed=12, height=1)]
    assert OP.rooms["triton"].takes(*args)
    args[name] = args[name].new_empty(shape)
    assert not any(room.takes(*args) for room in OP.rooms.values() if room.name != "cpu")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strength", [0.01, 20.0])
def test_sums_of_the_largest_values_stay_finite(
    mode: AttentionMode, strength: float, cuda_on_host: SideLibrary
) -> None:
    """Between nodes, and every pixel for itself; a value is a third of the largest number."""
    args = arguments(mode, seed=13)
    args[EDGE_WEIGHT] *= strength
    args[VALUE] = torch.full_like(args[VALUE], 1e38)
    assert not fault(args)
    sample = Sample("", tuple(args))
    assert not judge(OP, OP.rooms["cuda"], sample, lib=cuda_on_host.with_mutant(0)).fault
