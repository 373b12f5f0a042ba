"""The engine's stage of `make gpu`, without a GPU: no speed without accuracy, and nothing is lost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu import frames
from gpu.machine import Machine
from gpu.report import Report
from gpu.summary import summary


def _rows() -> dict[str, Any]:
    fast = {"ms": {"p50": 0.5}, "frames_per_s": 2000.0, "psnr_db": 60.0, "keypoints_px": 0.001}
    slow = {"ms": {"p50": 5.0}, "frames_per_s": 200.0, "psnr_db": 99.0, "keypoints_px": 0.1}
    alone = {"fp16, batch 1": fast, "fp16, batch 16": fast}
    rivals = {"fp16, batch 1": fast, "eager, target encoded each time": slow, "max-autotune, fp16": slow}
    return {
        "eamfmeg": {"variants": alone, "host to host, batch 1": {"stream": 1.0}},
        "eamfmeg and rivals": {"variants": rivals},
    }


def test_what_was_wanted_stands_beside_what_was_found() -> None:
    found = frames.goals(_rows())
    assert {name: goal["found"] for name, goal in found.items()} == {
        "ms at batch 1": 0.5, "frames/s at batch 16": 2000.0, "times eager": 10.0, "times max-autotune": 10.0,
    }  # fmt: skip
    assert frames.goals({}) == {} and frames.goals({"eamfmeg": {"error": "died"}}) == {}
    assert set(frames.goals({"eamfmeg": _rows()["eamfmeg"]})) == {"ms at batch 1", "frames/s at batch 16"}


def test_the_summary_shows_frames_and_goals() -> None:
    rows = _rows()
    stage = {
        "status": "passed",
        "frames": rows | {"compile max-autotune": {"error": "stopped"}},
        "goals": frames.goals(rows),
    }
    text = summary({"device": "x", "stages": {"engine": stage}})
    assert "0.5 ms, 2000 frames/s; 60.0 dB" in text and "goal 0.8 ms at batch 1: 0.5" in text and "host to host" in text


def test_faults_of_an_engine() -> None:
    row = {"fp16, batch 1": {"fault": "20 dB"}, "fp32, batch 1": {"fault": ""}}
    found = frames.faults_of({"variants": row, "no_graphs": {"fp16, batch 1": "capturing failed", "fp32": ""}})
    assert found == ["fp16, batch 1: 20 dB", "without graphs: capturing failed"]
    assert frames.faults_of({"error": "died"}) == ["died"] and not frames.faults_of({"variants": {}, "no_graphs": {}})


def test_a_variant_that_is_wrong_gets_no_speed() -> None:
    scene = frames.scene_of(Machine("cpu"), "small", 1)
    good = (scene.images, scene.keypoints.float())
    shifted, dark = (good[0], good[1] + 1e-3), (good[0] // 2, good[1])

    def broken() -> tuple[torch.Tensor, ...]:
        raise RuntimeError("no such kernel")

    results = {"fp16, good": good, "fp16, shifted": shifted, "bf16, dark": dark, "rival, dark": dark}
    calls: dict[str, Any] = {name: lambda result=result: result for name, result in results.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_SECONDS", 0.01)
        table = frames.measure(Machine("cpu"), scene, calls | {"fp32, broken": broken})
    assert [name for name, row in table.items() if "ms" in row] == ["fp16, good", "rival, dark"]
    assert "no such kernel" in table["fp32, broken"]["fault"] and "px" in table["fp16, shifted"]["fault"]


def test_a_rival_that_does_not_compile_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answers(jobs: list[dict[str, Any]], deadline: float, each: Any, **options: Any) -> None:
        for job in jobs:
            asked.append(job)
            each(job, {"error": "stopped"} if job.get("mode") == "max-autotune" else {"variants": {}, "no_graphs": {}})

    monkeypatch.setattr(frames, "run_jobs", answers)
    report = Report(tmp_path / "r.json")
    frames.engine_stage(report, Machine("cpu"), time.monotonic() + 9)
    assert asked[-1]["modes"] == ["reduce-overhead"] and not report.faults
    assert (
        json.loads((tmp_path / "r.json").read_text())["found"]["frames"]["compile max-autotune"]["error"] == "stopped"
    )


@pytest.mark.slow
def test_a_rehearsal_measures_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_SECONDS", 0.05)
    with torch.no_grad():
        alone = frames.engine_job(Machine("cpu"), "small")
        beside = frames.frame_job(Machine("cpu"), {"what": "rivals", "modes": ["max-autotune"]})
    assert list(alone["variants"]) == ["fp16, batch 1", "bf16, batch 1", "fp32, batch 1", "fp16, batch 2"]
    rows = [*alone["variants"].values(), *beside["variants"].values()]
    assert len(rows) == 8 and all("ms" in row and not row["fault"] for row in rows)
    assert all(time_ms > 0 for batch in (1, 2) for time_ms in alone[f"host to host, batch {batch}"].values())
