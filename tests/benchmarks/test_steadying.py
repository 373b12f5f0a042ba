"""The figures of the steadying benchmark on displacements that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import steadying
import torch
from steadying import Filmed, score

from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.weights import StoredWeights


@pytest.fixture(scope="module")
def filmed() -> Filmed:
    clip = lab_clip(HELD_OUT_SEEDS[40], action_units={12: 2.0}, size=64, fps=100, seed=1, duration_s=0.3, drift=0)
    return Filmed(clip, [])


def moved(filmed: Filmed, delay: int = 0, share: float = 1.0) -> np.ndarray:
    way = filmed.clip.displacement_px.permute(0, 3, 1, 2)
    cells = torch.nn.functional.adaptive_avg_pool2d(way, 16).permute(0, 2, 3, 1).numpy()
    return np.roll(cells, delay, axis=0) * share


def test_the_truth_has_no_error(filmed: Filmed) -> None:
    found = score(filmed, moved(filmed), filmed.clip.frames.numpy())
    assert found["error_moving"] < 1e-6 and found["apex_shift_frames"] == found["delay_frames"] == 0
    assert found["apex_height"] == pytest.approx(1) and found["start_db"] == 99


def test_lag_and_loss_are_seen(filmed: Filmed) -> None:
    found = score(filmed, moved(filmed, delay=3, share=0.5), filmed.clip.frames.numpy())
    assert found["apex_shift_frames"] == found["delay_frames"] == 3
    assert found["apex_height"] == pytest.approx(0.5) and found["error_moving"] > 0.4


def test_jitter_and_bias_are_told_apart() -> None:
    clip = lab_clip(HELD_OUT_SEEDS[40], action_units={}, size=64, fps=100, seed=1, duration_s=0.1, drift=0)
    away = np.zeros((len(clip.frames), 16, 16, 2))
    away[..., 0] = 0.3
    away[::2, ..., 1], away[1::2, ..., 1] = 0.1, -0.1
    found = score(Filmed(clip, []), away, clip.frames.numpy())
    assert found["jitter_px"] == pytest.approx(0.1, rel=0.02) and found["bias_px"] == pytest.approx(0.3, rel=0.02)


def test_the_table_is_of_the_shipped_weights() -> None:
    result = json.loads(steadying.RESULTS.read_text())
    assert steadying.table(result) in steadying.README.read_text()
    assert result["content_sha256"] == StoredWeights(result["weights"]).info.content_sha256, "run `make steadying`"
    assert [row["name"] for row in result["rows"]] == [way.name for way in steadying.WAYS]
