"""The sparse benchmark: what each track answers from memory, and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparse
import torch


def test_the_readme_shows_the_sparse_update(root: Path) -> None:
    text = (root / "benchmarks/README.md").read_text()
    made = text.split(sparse.BEGIN)[1].split(sparse.END)[0].strip()
    path = root / "benchmarks/results/sparse.json"
    assert made == (sparse.table(json.loads(path.read_text())) if path.exists() else "")


@pytest.fixture
def still_clip() -> np.ndarray:
    """Four frames, of which the second repeats the first."""
    return np.random.default_rng(5).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)[[0, 0, 1, 2]]


class Counting:
    """A backend whose every call is counted; the mean of a corner is where the keypoints are."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.guide = None

    def detect(self, frames: torch.Tensor) -> sparse.Keypoints:
        self.calls.append("detect")
        return sparse.Keypoints(frames[:, :9, :9].double().mean().reshape(1, 1, 1), torch.zeros(1, 1, 2, 2))

    def draw(self, state: Any, moved: sparse.Keypoints) -> sparse.Drawn:
        self.calls.append("draw")
        return sparse.Drawn(moved.kp.round().byte()[None], torch.zeros(1), torch.zeros(1))


def test_only_tracks_with_a_memory_answer_from_it(still_clip: np.ndarray) -> None:
    dense, exact = tracks = [sparse.Track(Counting(), reuses) for reuses in (False, True)]
    frames = [torch.from_numpy(frame)[None] for frame in still_clip]
    sparse.run(tracks, frames, None, lambda backend, frame: backend.draw(frames, backend.detect(frame)))
    warm = 2 * sparse._WARMUPS
    assert len(dense.guided.calls) - warm == 8 and len(exact.guided.calls) - warm == 6
    assert dense.active == [1, 1, 1, 1] and exact.active == [1, 0, 1, 1] and min(exact.psnr) == 99
    dense.times_ms, exact.times_ms = [10.0] * 4, [10.0, 2.0, 10.0, 10.0]
    row = exact.row(dense, exact)
    assert row["update"] == "exact" and row["faster"] == 1.25 and row["faster_than_exact"] == 1


def test_the_sparse_table_has_both_ratios() -> None:
    row = {"change": None, "update": "exact", "active": 0.5, "mean_ms": 8.0, "p50_ms": 9.0, "faster": 1.25}
    row |= {"faster_than_exact": 1.0, "psnr_min_db": 99.0, "psnr_mean_db": 99.0}
    tiles = {**row, "update": "sparse", "change": 0.02, "faster": 2.5, "faster_than_exact": 2.0}
    head = {"network": "n", "precision": "bf16", "frames": 4, "repeated": 0.25, "clip": "c", "target": "t"}
    text = sparse.table({"clips": [{**head, "threads": 1, "commit": "abc", "rows": [row, tiles]}]})
    assert "| exact | 50.0% | 8.0 | 9.0 | 1.25 | 1.00 | - |" in text
    assert "| 0.02 | 50.0% | 8.0 | 9.0 | 2.50 | 2.00 | 99.0 (99.0) |" in text
