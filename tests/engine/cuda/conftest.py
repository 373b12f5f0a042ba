"""Small networks of every kind, pictures, and the CUDA backend on the CPU: the same arithmetic without graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.config import PRESETS, HourglassConfig
from eamfmeg_fast.engine import NetworkParameters, choose_backend
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.network import Network, build_network, fill_seeded

KINDS = {
    "released": {"attention": "released", "skip": False, "pixel_grid": "corners", "adapt_scale": True},
    "released, skip": {"attention": "released", "skip": True, "pixel_grid": "corners", "align_corners": True},
    "edge-query": {"attention": "edge-query", "skip": False, "pixel_grid": "centres", "residual_blocks": 1},
    "edge-query, skip": {"attention": "edge-query", "skip": True, "pixel_grid": "centres"},
    "no attention": {"attention": None, "edge": False, "skip": True, "pixel_grid": "centres", "adapt_scale": False},
}


@cache
def _network(kind: str) -> Network:
    hourglass = HourglassConfig(4, 2, 8)
    config = replace(
        PRESETS["small"],
        keypoint=hourglass,
        dense_motion=hourglass,
        generator_expansion=4,
        size=64,
        **{"residual_blocks": 2, **KINDS[kind]},
    )
    return fill_seeded(build_network(config))


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest) -> Network:
    """One of each kind; nobody changes it."""
    return _network(request.param)


@pytest.fixture
def one_network() -> Network:
    """The kind that the live network is of."""
    return _network("edge-query, skip")


@pytest.fixture
def pictures() -> Callable[[int], Tensor]:
    """`pictures(n)`: uint8 `[n, 64, 64, 3]`, smooth with some grain."""

    def make(count: int, seed: int = 3) -> Tensor:
        made = torch.Generator().manual_seed(seed)
        low = torch.rand(count, 3, 8, 8, generator=made) * 255
        smooth = torch.nn.functional.interpolate(low, size=(64, 64), mode="bicubic")
        noise = torch.randn(count, 3, 64, 64, generator=made) * 4
        return (smooth + noise).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()

    return make


@pytest.fixture
def backend() -> Callable[..., CudaBackend]:
    """`backend(network, word, shell)` on the CPU."""

    def make(network: Network, word: str = "fp32", shell: Any = None) -> CudaBackend:
        plan = replace(choose_backend(device="cpu"), backend="cuda", decoder=word, reason="a test")
        return CudaBackend(NetworkParameters(network), plan, shell)

    return make


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield
