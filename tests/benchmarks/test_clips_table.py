"""The tables of real clips hold what was measured, and nothing that names a place."""

from __future__ import annotations

import json
from pathlib import Path

import clips_table

from eamfmeg_fast.weights import StoredWeights, pretrained_names


def _run(name: str = "`base`", grey: str = "none", driving: str = "a.gif") -> clips_table.Run:
    figures = {"corr": 0.625, "gain": 0.5, "leak": 1.75, "sharp": 0.875, "start": 40.0, "flicker": 3.0, "trace": None}
    pair = {"driving": driving, "target": "b.png", "frames": 9, "error": None, "settings": {"crop": "x"}, **figures}
    failed = {"driving": "c.gif", "target": "b.png", "error": "no face"}
    facts = {"weights": "base", "weights_sha256": "f" * 64, "plan": "cpu/bf16", "crop": "none", "still_px": 0.05}
    return clips_table.kept(name, facts | {"grey": grey, "pairs": [pair, failed], "failed": 1, "mean": figures})


def test_only_figures_are_kept() -> None:
    (pair,) = _run()["pairs"]
    assert pair["corr"] == 0.625 and set(pair) == {"driving", "target", "frames", *clips_table.COLUMNS}
    assert _run()["failed"] == 1


def test_every_pair_and_mean_has_a_line() -> None:
    text = clips_table.table([_run(), _run("`base`, driving in grey", "driving")])
    assert "| `base` | a.gif | b.png | 9 | 0.62 | 0.50 | 1.75 | 0.88 | 40.0 | 3.0 | - |" in text
    assert "| `base`, driving in grey | **mean** |  |  | 0.62 |" in text and len(text.splitlines()) == 6


def test_the_front_page_compares_the_same_clips_alone() -> None:
    text = clips_table.headline([_run(), _run("FOMM"), _run("else", driving="z.mp4")])
    assert "| FOMM | 0.62 | 0.50 | 1.75 | 0.88 | 40.0 |" in text and "else" not in text


def test_the_readmes_have_the_kept_figures_of_the_shipped_weights(root: Path) -> None:
    runs = json.loads(clips_table.RESULT.read_text())
    assert clips_table.table(runs) in clips_table.README.read_text()
    assert clips_table.headline(runs) in (root / "README.md").read_text()
    assert {run["weights"] for run in runs} == set(pretrained_names())
    for run in runs:
        assert run["weights_sha256"] == StoredWeights(run["weights"]).info.sha256, "score the shipped weights again"


def test_nothing_of_the_clips_themselves_is_kept() -> None:
    assert "/" not in clips_table.RESULT.read_text().replace("cpu/", "").replace("cuda/", "")
