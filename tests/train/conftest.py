"""A network of the family that a step takes a fraction of a second for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eamfmeg_fast.config import HourglassConfig, NetworkConfig, preset


@pytest.fixture(scope="session")
def tiny() -> NetworkConfig:
    narrow = HourglassConfig(4, 5, 8)
    return replace(
        preset("small"),
        size=128,
        keypoint=narrow,
        dense_motion=narrow,
        generator_expansion=4,
        generator_max_features=8,
        residual_blocks=1,
        attention_dim=4,
    )
