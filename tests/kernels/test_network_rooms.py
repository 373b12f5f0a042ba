"""A whole small network in each room: what one operator hands to the next is what the next expects."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eamfmeg_fast.config import PRESETS, HourglassConfig, NetworkConfig
from eamfmeg_fast.engine import Engine
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.network.operators import of_room, switch

_HOURGLASS = HourglassConfig(4, 2, 8)
_TINY = replace(
    PRESETS["eamfmeg"],
    num_kp=3,
    keypoint=_HOURGLASS,
    dense_motion=_HOURGLASS,
    keypoint_kernel=3,
    keypoint_padding=1,
    mask_kernel=3,
    generator_expansion=4,
    generator_max_features=12,
    residual_blocks=1,
    attention_dim=4,
    strip_rows=2,
    size=32,
)
CONFIGS = {
    "released": _TINY,
    "edge-query": replace(_TINY, attention="edge-query", pixel_grid="centres", skip=True, strip_rows=4),
}
STAGES = (
    "kp_driving",
    "jacobian_driving",
    "dense_motion_input",
    "flow",
    "occlusion",
    "features_attended",
    "prediction",
)


def _pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    return list(np.kron(coarse, np.ones((1, 4, 4, 1), np.uint8)))


def _trace(config: NetworkConfig, precision: str, room: str | None = None, **switches: Any) -> dict[str, np.ndarray]:
    engine = Engine(fill_seeded(build_network(config)), precision=precision, device="cpu")
    if room is not None:
        switch(engine.network, of_room(room, **switches))
    return engine.trace(*_pictures())


@pytest.mark.parametrize("room", ["cpu", "cuda", "triton"])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_network_is_the_same_in_every_room(name: str, room: str, request: pytest.FixtureRequest) -> None:
    switches = {}
    if room == "triton" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("NOT RUN: TRITON_INTERPRET is not set")
    if room == "cuda":
        switches = {"lib": request.getfixturevalue("cuda_on_host").with_mutant(0)}
    exact, plain = _trace(CONFIGS[name], "fp64"), _trace(CONFIGS[name], "fp32")
    fast = _trace(CONFIGS[name], "fp32", room, **switches)
    eps = torch.finfo(torch.float32).eps
    for stage in (*STAGES, "prediction"):
        scale = np.abs(exact[stage]).max()
        error, allowed = np.abs(fast[stage] - exact[stage]).max(), np.abs(plain[stage] - exact[stage]).max()
        # Errors pass through several operators here: their order alone may double what one rounding does.
        assert error <= 4 * allowed + 16 * eps * scale, (stage, error, allowed)


def test_another_room_really_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(_TINY)
    before = {module.operators for module in network.modules() if hasattr(module, "operators")}
    switch(network, of_room("cpu"))
    after = {module.operators for module in network.modules() if hasattr(module, "operators")}
    assert len(before) == len(after) == 1 and before != after
