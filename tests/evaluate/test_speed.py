"""`eamfmeg bench` and what it measures with: plans, percentiles, memory, distance from float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eamfmeg_fast.cli import run
from eamfmeg_fast.config import DEFAULT_WEIGHTS, PRESETS
from eamfmeg_fast.engine import building
from eamfmeg_fast.errors import BackendError, BackendWarning, OptionError, WeightsError
from eamfmeg_fast.evaluate import measure_scales, speed, speed_child
from eamfmeg_fast.evaluate.scene import EQUAL_DB, Accuracy, Truth, accuracy, lab_scene
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.weights import StoredWeights


def truth(size: int = 16) -> Truth:
    rng = np.random.default_rng(1)
    return Truth(
        np.array([1, 2]), rng.uniform(0, 1, (2, 3, size, size)), rng.uniform(-1, 1, (2, PRESETS["small"].num_kp, 2))
    )


def test_the_truth_is_no_distance_from_itself() -> None:
    exact = truth()
    found = accuracy(exact, list(exact.predictions), list(exact.kp))
    assert found == Accuracy(EQUAL_DB, 0.0, 0.0, 300.0)
    levels = [np.floor(p * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0) for p in exact.predictions]
    assert accuracy(exact, levels, list(exact.kp)) == Accuracy(EQUAL_DB, 0.0, 0.0, None)


def test_distances_are_what_was_done_to_the_truth() -> None:
    exact = truth()
    levels = np.stack([np.floor(p * 255 + 0.5).transpose(1, 2, 0) for p in exact.predictions]).clip(2, 253)
    exact = Truth(exact.numbers, (levels / 255).transpose(0, 3, 1, 2), exact.kp)
    moved = exact.kp.copy()
    moved[1, 3, 0] += 0.25
    off = levels.astype(np.uint8)
    off[0, 0, 0, 0] += 2
    found = accuracy(exact, list(off), list(moved))
    assert found.keypoint_shift_px == pytest.approx(0.25 * 8) and found.off_by_more == 1 / off.size
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / (4 / off.size)))
    assert accuracy(exact, list(levels.astype(np.uint8) + np.uint8(1)), list(exact.kp)).psnr_db == pytest.approx(
        48.13, abs=0.01
    )
    assert np.isnan(accuracy(exact, list(exact.predictions * np.nan), list(exact.kp)).float_psnr_db)


def test_a_scene_has_as_many_different_frames_as_asked_for() -> None:
    scene = lab_scene(64, 9)
    assert scene.frames.shape == (9, 64, 64, 3) and scene.frames.dtype == np.uint8
    assert len({frame.tobytes() for frame in scene.frames}) == 9 and scene.target.shape == (64, 64, 3)


def test_percentiles_are_ordered_and_fps_is_of_the_whole() -> None:
    found = speed.percentiles([10.0] * 98 + [20.0, 1000.0])
    assert found["p50_ms"] == 10 < found["p95_ms"] + 1 and found["p95_ms"] <= found["p99_ms"] < 1000
    assert found["fps"] == pytest.approx(1000 * 100 / 2000)


def test_what_makes_the_frames_is_not_timed() -> None:
    def frames() -> Any:
        for number in range(2):
            sum(range(2_000_000))
            yield number

    assert max(speed.latencies(lambda frame: None, frames())) < 5


def test_every_plan_opens_an_engine_that_draws() -> None:
    plans = speed.engine_plans("cpu")
    assert "reference/fp32" in plans and not any("fp64" in plan for plan in plans)
    network, scene = StoredWeights("small"), lab_scene(256, 2)
    for plan in speed.plans_for("small", "cpu"):
        image, kp = speed.frame_call(speed.open_engine(network, plan, "cpu"), scene)(scene.frames[1])
        assert image.shape == (256, 256, 3) and image.dtype == np.uint8 and kp.shape == (PRESETS["small"].num_kp, 2)


def test_plans_that_are_none_are_refused() -> None:
    with pytest.raises(OptionError, match="reference/fp32"):
        list(speed.measure_plans("small", ["fast"]))
    with pytest.raises(OptionError):
        speed.open_engine(fill_seeded(build_network("small")), "fp32")
    with pytest.raises(OptionError):
        list(speed.measure_plans("small", frames=0))


def test_a_fallback_is_not_timed_under_the_name_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no such instruction")

    network = fill_seeded(build_network("small"))
    monkeypatch.setattr(building, "CpuBackend", broken)
    with pytest.warns(BackendWarning), pytest.raises(BackendError, match="no such instruction"):
        speed.open_engine(network, "cpu/fp32", "cpu")
    assert speed.open_engine(network, "reference/fp32", "cpu").plan.backend == "reference"


@pytest.mark.parametrize("scales", [None, {"one": 1.0}])
def test_int8_is_for_weights_with_scales(monkeypatch: pytest.MonkeyPatch, scales: dict[str, float] | None) -> None:
    class Stored:
        def __init__(self, name: str) -> None:
            self.info = SimpleNamespace(activation_scales=scales)

    monkeypatch.setattr(speed, "StoredWeights", Stored)
    monkeypatch.setattr(speed, "engine_plans", lambda device: ["cpu/fp32", "cpu/int8"])
    assert speed.plans_for("any", "cpu") == ["cpu/fp32"] + ["cpu/int8"] * (scales is not None)


def test_an_error_of_ours_comes_through_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def child(command: list[str], **options: Any) -> SimpleNamespace:
        with monkeypatch.context() as patch:
            patch.setattr(speed_child, "measure", refuse)
            patch.setattr(speed_child.sys, "argv", ["speed_child", command[-1]])
            speed_child.main()
        return SimpleNamespace(stderr="")

    def refuse(request: dict[str, Any]) -> None:
        raise WeightsError("no scales", "some", "Measure them.")

    monkeypatch.setattr(speed.subprocess, "run", child)
    found = speed._in_process(tmp_path, {"plan": "cpu/int8", "threads": None})
    assert type(found) is WeightsError and str(found) == str(WeightsError("no scales", "some", "Measure them."))


def test_memory_now_is_no_more_than_the_most() -> None:
    assert 0 < speed.held_mb() <= speed.peak_mb()


@pytest.mark.parametrize("people", [0, 65])
def test_calibration_takes_a_bounded_number_of_people(people: int) -> None:
    with pytest.raises(OptionError, match="1 to 64"):
        measure_scales(fill_seeded(build_network("small")), people)


@pytest.mark.slow
def test_bench_measures_every_plan(eamfmeg_json: Callable[..., dict[str, Any]]) -> None:
    found = eamfmeg_json(
        "bench", "--frames", 3, "--threads", 1, "--plans", "reference/fp32", "--device", "cpu", "--json"
    )
    (row,) = found["plans"]
    assert row["plan"] == "reference/fp32" and row["frames"] == 3 and not found["failed"]
    assert row["psnr_db"] > 60 and row["keypoint_shift_px"] < 0.01
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] and row["peak_mb"] > 5 and row["start_s"] > 0


@pytest.fixture
def eamfmeg_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(*args: object) -> dict[str, Any]:
        assert run([str(arg) for arg in args]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def row(plan: str) -> speed.PlanSpeed:
    return speed.PlanSpeed(plan, "why", 3, 1.0, 2.0, 3.0, 4.0, 5.0, 333.0, 77.0, 1.5, Accuracy(EQUAL_DB, 0.0, 2e-5))


def test_bench_shows_accuracy_beside_speed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def measured(weights: str, plans: list[str], **options: Any) -> Any:
        asked.append((weights, plans, options["frames"]))
        yield row("a/fp32")
        if len(asked) > 1:
            yield BackendError("plan b/int8 did not run")

    monkeypatch.setattr(speed, "measure_plans", measured)
    assert run(["bench", "--plans", "a/fp32", "--frames", "3"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("a/fp32", "333", "77", "equal", "2.0e-05"))
    assert run(["bench", "--plans", "a/fp32, b/int8"]) == 4
    assert "1 of 2 plans failed" in capsys.readouterr().err
    assert asked == [(DEFAULT_WEIGHTS, ["a/fp32"], 3), (DEFAULT_WEIGHTS, ["a/fp32", "b/int8"], 60)]


def test_bench_exits_with_3_when_nothing_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "measure_plans", lambda *args, **options: iter([BackendError("plan a/b did not run")]))
    assert run(["bench"]) == 3
