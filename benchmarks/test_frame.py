"""One driving frame through the engine: how long, and how far from float64. No time is shown when that is too far."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.evaluate.scene import Scene, Truth, accuracy, truth_of
from eamfmeg_fast.evaluate.speed import frame_call
from eamfmeg_fast.network import Network, build_network, fill_seeded

PRESETS = ("small", "fomm", "eamfmeg")
PRECISIONS = ("fp32", "auto")
MAX_SHIFT_PX, MIN_PSNR = 0.01, {"fp32": 80.0, "bf16": 40.0}


@cache
def scene() -> Scene:
    """target, initial and driving picture: smooth random fields that differ a little."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0, 255, (9, 9, 3))
    out = []
    for shift in (0.0, 0.02, 0.05):
        at = np.clip(np.linspace(0, 7.999, 256) + shift, 0, 7.999)
        low, part = at.astype(int), at % 1
        rows = coarse[low] * (1 - part)[:, None, None] + coarse[low + 1] * part[:, None, None]
        image = rows[:, low] * (1 - part)[None, :, None] + rows[:, low + 1] * part[None, :, None]
        out.append(image.astype(np.uint8))
    return Scene(out[0], np.stack(out[1:]))


@cache
def known(preset: str) -> tuple[Network, Truth]:
    """A network with seeded weights, and what float64 draws with it."""
    network = fill_seeded(build_network(preset))
    return network, truth_of(network, scene(), 1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_frame(benchmark, preset: str, precision: str) -> None:
    network, truth = known(preset)
    engine = Engine(network, precision=precision, update="dense")
    call, driving = frame_call(engine, scene()), scene().frames[1]
    picture, kp = call(driving)
    found = accuracy(truth, [picture], [kp])
    least = MIN_PSNR["fp32" if engine.plan.decoder == "fp32" else "bf16"]
    assert found.keypoint_shift_px <= MAX_SHIFT_PX and found.psnr_db >= least
    benchmark.extra_info |= {
        "keypoint_shift_px": found.keypoint_shift_px,
        "psnr_db": found.psnr_db,
        "plan": engine.plan.reason,
    }
    benchmark.pedantic(lambda: call(driving), rounds=10, warmup_rounds=2)
