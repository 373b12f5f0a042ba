"""One driving frame through the engine: how long, and how far from float64. No time is shown when that is too far."""

from __future__ import annotations

import numpy as np
import pytest

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.network import build_network, fill_seeded

PRESETS = ("small", "fomm", "eamfmeg")
MAX_SHIFT_PX, MIN_PSNR = 0.01, 80.0


def pictures() -> list[np.ndarray]:
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
    return out


def distance(preset: str) -> tuple[float, float]:
    """Keypoint shift in px and PSNR in dB of float32 against float64."""
    network = fill_seeded(build_network(preset))
    plans = ({"precision": "fp32"}, {"precision": "fp64"})
    runs = [Engine(network, backend="reference", **plan).trace(*pictures()) for plan in plans]
    shift = np.abs(runs[0]["kp_driving"] - runs[1]["kp_driving"]).max() * 128
    error = ((runs[0]["prediction"] - runs[1]["prediction"]) ** 2).mean()
    return float(shift), float(-10 * np.log10(max(error, 1e-20)))


@pytest.mark.parametrize("preset", PRESETS)
def test_frame(benchmark, preset: str) -> None:
    shift, psnr = distance(preset)
    assert shift <= MAX_SHIFT_PX and psnr >= MIN_PSNR
    engine = Engine(fill_seeded(build_network(preset)), update="dense")
    target, initial, driving = pictures()
    state, start = engine.prepare(target), engine.detect(initial)
    benchmark.extra_info |= {"keypoint_shift_px": shift, "psnr_db": psnr, "plan": engine.plan.reason}
    benchmark.pedantic(lambda: engine.step(state, start, engine.detect(driving)), rounds=10, warmup_rounds=2)
