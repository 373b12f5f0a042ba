"""The table of real clips holds what was measured, and nothing that names a place."""

from __future__ import annotations

import json
from pathlib import Path

import clips_table
import pytest

from eamfmeg_fast.weights import StoredWeights


def _run(grey: str = "none") -> clips_table.Run:
    figures = {"corr": 0.625, "gain": 0.5, "leak": 1.75, "sharp": 0.875, "start": 40.0, "flicker": 3.0, "trace": None}
    pair = {"driving": "a.gif", "target": "b.png", "frames": 9, "error": None, "settings": {"crop": "x"}, **figures}
    failed = {"driving": "c.gif", "target": "b.png", "error": "no face"}
    facts = {"weights": "base", "weights_sha256": "f" * 64, "plan": "cpu/bf16", "crop": "none", "still_px": 0.05}
    return facts | {"grey": grey, "pairs": [pair, failed], "failed": 1, "mean": figures}


def test_only_figures_are_kept() -> None:
    (pair,) = clips_table.kept(_run())["pairs"]
    assert pair["corr"] == 0.625 and set(pair) == {"driving", "target", "frames", *clips_table.COLUMNS}
    assert clips_table.kept(_run())["failed"] == 1


def test_every_pair_and_mean_has_a_line() -> None:
    text = clips_table.table([clips_table.kept(_run(grey)) for grey in ("none", "driving")])
    assert "| `base` | a.gif | b.png | 9 | 0.62 | 0.50 | 1.75 | 0.88 | 40.0 | 3.0 | - |" in text
    assert "| `base`, driving in grey | **mean** |  |  | 0.62 |" in text and len(text.splitlines()) == 6


def test_the_readme_has_the_kept_figures_of_the_shipped_weights(root: Path) -> None:
    runs = json.loads(clips_table.RESULT.read_text())
    assert clips_table.table(runs) in clips_table.README.read_text()
    assert {run["weights"] for run in runs} >= {"base", "small"}
    for run in runs:
        assert run["weights_sha256"] == StoredWeights(run["weights"]).info.sha256, "score the shipped weights again"


@pytest.mark.parametrize("name", ["clips.json"])
def test_nothing_of_the_clips_themselves_is_kept(root: Path, name: str) -> None:
    assert "/" not in (root / "benchmarks" / "results" / name).read_text().replace("cpu/", "").replace("cuda/", "")
