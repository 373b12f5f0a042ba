"""What the stages of `make gpu` read and count: JUnit files, compute-sanitizer's words, bytes, operations, faults."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness
import pytest
import torch
from gpu import checks, counting, device, pytests, rivals, sanitizer, speed
from gpu.machine import Machine
from gpu.report import Report
from gpu.summary import summary

from eamfmeg_fast.kernels.edge_attention.reference import edge_attention
from eamfmeg_fast.kernels.registry import Sample, operators
from eamfmeg_fast.kernels.warp_occlude.reference import warp_occlude

_CASES = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="wrong by 3">trace</failure></testcase>
<testcase classname="a" name="three"><error message="">broke</error></testcase>
<testcase classname="a" name="four"><skipped message="NOT RUN: no CUDA device"/></testcase>
<testcase classname="a" name="five"><skipped message="a large sample adds nothing here"/></testcase>
</testsuite></testsuites>"""


def _skips(*reasons: str) -> str:
    cases = "".join(
        f'<testcase classname="a" name="{i}"><skipped message="{r}"/></testcase>' for i, r in enumerate(reasons)
    )
    return f"<testsuite><testcase classname='a' name='x'/>{cases}</testsuite>"


def test_junit_is_read() -> None:
    row = pytests.read_junit(_CASES)
    assert row["passed"] == 1
    assert row["failed"] == [["a::two", "wrong by 3"], ["a::three", "broke"]]
    assert row["skipped"] == {"NOT RUN: no CUDA device": ["a::four"], "a large sample adds nothing here": ["a::five"]}


def _faults(tmp_path: Path, text: str, code: int | None = 0, at_least: int = 1) -> list[str]:
    path = tmp_path / "junit.xml"
    path.write_text(text)
    return pytests.judged(pytests.Part("part", (), at_least), path, code, "words")[1]


def test_a_green_run_has_no_faults(tmp_path: Path) -> None:
    harmless = ("hypothesis is absent", "NOT RUN: this processor has no avx512", "rounding has no gradient",
                "NOT RUN: the interpreter of Triton 3.6 breaks with numpy 2.4")  # fmt: skip
    assert not _faults(tmp_path, _skips(*harmless))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<testsuite><testcase classname='a' name='b'><skipped message='x'/></testcase></testsuite>", 0),
        ("<testsuite/>", 5),
        ("no XML", 0),
        (_skips("NOT RUN: no CUDA device"), 0),
        (_skips("could not import 'triton': No module named 'triton'"), 0),
        (_skips("NOT RUN: no nvcc"), 0),
        (_skips(), 3),
        (_skips(), None),
        (_CASES, 1),
    ],
)
def test_what_did_not_run_is_red(tmp_path: Path, text: str, code: int | None) -> None:
    assert _faults(tmp_path, text, code)


def test_a_part_that_ran_too_few_tests_is_red(tmp_path: Path) -> None:
    assert not _faults(tmp_path, _skips(), at_least=1) and _faults(tmp_path, _skips(), at_least=2)


def test_files_marked_gpu_are_found(root: Path) -> None:
    assert str(root / "tests/kernels/test_on_device.py") in pytests.marked(root / "tests")


def test_pytest_runs_as_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 0, 'wrong'\n")
    monkeypatch.setattr(pytests, "ROOT", tmp_path)
    report = Report(tmp_path / "r.json")
    pytests._run_parts(report, [pytests.Part("it", ("test_it.py",), 2)], time.monotonic() + 60)
    assert report.found["it"]["passed"] == 1
    assert len(report.faults) == 2 and "wrong" in report.faults[0] and "at least 2" in report.faults[1]


@pytest.mark.parametrize(
    ("code", "words", "status"),
    [
        (0, "sanitized: 9 calls\n========= ERROR SUMMARY: 0 errors", "clean"),
        (0, "sanitized: 9 calls\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", "clean"),
        (86, "sanitized: 9 calls\n========= ERROR SUMMARY: 3 errors", "errors"),
        (86, "sanitized: 9 calls\n========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)", "errors"),
        (86, "========= Invalid __global__ write\n========= ERROR SUMMARY: 1 error", "errors"),
        (0, "========= ERROR SUMMARY: 0 errors", "incomplete"),
        (0, "sanitized: 0 calls\n========= ERROR SUMMARY: 0 errors", "incomplete"),
        (1, "Traceback\n========= ERROR SUMMARY: 0 errors", "incomplete"),
        (0, "sanitized: 9 calls", "incomplete"),
        (255, "========= Error: Device not supported. Please refer to the documentation", sanitizer.REFUSED),
        (1, "========= Device not supported\nCUDA error 999\n========= ERROR SUMMARY: 1 error", sanitizer.REFUSED),
        (None, "sanitized: 9 calls", "stopped for time"),
    ],
)
def test_words_of_the_sanitizer(code: int | None, words: str, status: str) -> None:
    assert sanitizer.verdict(code, words)["status"] == status


def test_only_a_refusal_is_let_pass_and_the_control_must_find_its_fault() -> None:
    rows = {status: {"status": status, "words": ""} for status in ("clean", "errors", "incomplete", sanitizer.REFUSED)}
    assert [bool(sanitizer.fault_of("memcheck, cuda", row)) for row in rows.values()] == [False, True, True, False]
    assert [bool(sanitizer.fault_of("control", row)) for row in rows.values()] == [True, False, True, False]


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("hazards", "faults"), [(0, 0), (2, 1)])
def test_the_sanitizer_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hazards: int, faults: int) -> None:
    text = f"""case "$*" in
    *--fault*) echo "ERROR SUMMARY: 1 error"; exit 86;;
    *racecheck*) echo "sanitized: 4 calls"; echo "RACECHECK SUMMARY: {hazards} hazards displayed";;
    *) echo "sanitized: 4 calls"; echo "ERROR SUMMARY: 0 errors";; esac"""
    _program(tmp_path / "bin" / "compute-sanitizer", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    report = Report(tmp_path / "r.json")
    sanitizer.sanitizer(report, Machine("cpu"), time.monotonic() + 30)
    assert len(report.faults) == faults and report.found["control"]["status"] == "errors"


def test_without_the_sanitizer_the_stage_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "find_sanitizer", lambda: None)
    report = Report(tmp_path / "r.json")
    sanitizer.sanitizer(report, Machine("cpu"), time.monotonic() + 30)
    assert report.faults


def test_clocks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "nvidia-smi", "echo 580.1, 1980, 3201, 1980, 3201, 40, 100.5, Enabled")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert device.smi()["clocks.sm"] == "1980"
    _program(tmp_path / "nvidia-smi", "exit 9")
    assert device.smi() == {}


def test_bytes_are_counted_once() -> None:
    x = torch.zeros(2, 3, 4)
    assert counting.bytes_moved((x, x, 5, None), torch.zeros(7, dtype=torch.float16)) == 24 * 4 + 14
    assert counting.bytes_moved((torch.zeros(1, 3).expand(8, 3),), (torch.zeros(0), torch.zeros(1))) == 12 + 4
    assert counting.bytes_moved((torch.zeros(4, 6)[:, ::2],), torch.zeros(1)) == 12 * 4 + 4


def _fake(name: str, reference: Any, samples: list[Sample], **more: Any) -> Any:
    return SimpleNamespace(name=name, reference=reference, samples=lambda: samples, **more)


@pytest.mark.slow
def test_operations_are_counted() -> None:
    a, b = torch.zeros(3, 4), torch.zeros(4, 5)
    assert counting.flops(_fake("any", torch.mm, []), (a, b)) == 2 * 3 * 4 * 5
    features, flow = torch.zeros(1, 4, 4, 6), torch.zeros(1, 2, 3, 2)
    assert counting.flops(_fake("warp_occlude", warp_occlude, []), (features, flow, torch.ones(1, 2, 3))) == 36 * 9


def test_sixteen_bits_go_where_a_sample_has_them() -> None:
    maps, flow = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 2)
    half = Sample("half", (maps.half(), flow, "b", 1))
    network = Sample("network", (maps, flow, "b", 2))
    op = _fake("x", None, [Sample("other mode", (maps.half(), flow.half(), "a", 1)), half], network=lambda: network)
    found = {case.name: case.args for case in counting.cases(op)}
    assert list(found) == ["network, float32", "network, float16"]
    args = found["network, float16"]
    assert args[0].dtype == torch.float16 and args[1].dtype == torch.float32 and args[2:] == ("b", 2)


def test_every_operator_has_cases() -> None:
    for op in operators().values():
        assert counting.cases(op) and all(counting.bytes_moved(c.args, op.fake(*c.args)) for c in counting.cases(op))


def _attention_arguments() -> tuple[Any, ...]:
    made = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=made)

    vectors = (noise(8), noise(8), noise(8), noise(16), noise(1))
    maps = (noise(2, 4, 5, 8), noise(2, 4, 5, 16), noise(2, 4, 5, 16))
    flow = torch.rand(2, 4, 6, 2, generator=made) * 2 - 1
    return (None, *maps, noise(2, 4, 5), flow, torch.rand(2, 4, 6, generator=made), *vectors, 2, "edge-query", False)


@pytest.mark.slow
def test_rivals_compute_the_same() -> None:
    """Not the compiled ones: a compiler changes how, not what."""
    made = torch.Generator().manual_seed(4)
    warp = (torch.randn(2, 5, 6, 3, generator=made), torch.rand(2, 4, 4, 2, generator=made) * 2 - 1,
            torch.rand(2, 4, 4, generator=made), False)  # fmt: skip
    for name, reference, args in (
        ("warp_occlude", warp_occlude, warp),
        ("edge_attention", edge_attention, _attention_arguments()),
    ):
        found = {n: r for n, r in rivals.rivals(_fake(name, reference, []), args).items() if not r.compiled}
        assert len(found) >= 2
        for rival in found.values():
            torch.testing.assert_close(rival.make(args)(), reference(*args), rtol=1e-4, atol=1e-5)
    q, k, v = (torch.randn(1, 2, 8, 16, generator=made) for _ in range(3))
    torch.testing.assert_close(rivals._flex(q, k, v), rivals._sdpa(q, k, v), rtol=1e-4, atol=1e-5)


def test_no_speed_without_accuracy() -> None:
    rooms = {"a, cuda": {"samples": 3, "faults": []}, "a, triton": {"samples": 3, "faults": ["x"]},
             "b, cuda": {"samples": 0, "faults": []}}  # fmt: skip
    assert speed.clean_rooms({"stages": {"accuracy": {"rooms": rooms}}}) == {"a": ["cuda"]}
    assert speed.clean_rooms({}) == {}


def test_a_case_without_a_judged_room_is_not_timed() -> None:
    job = {"op": "identity", "case": 0, "rooms": [], "left_out": {}}
    assert speed.speed_job(Machine("cpu"), job) == {"judged": False, "takes": []}


def test_ratios_are_of_the_others_to_ours() -> None:
    table = {"cuda": {"warm_us": {"p50": 2.0}}, "eager": {"warm_us": {"p50": 6.0}}, "late": {"cold_us": {"p50": 1.0}}}
    assert speed.faster(table, "cuda") == {"warm": {"eager": 3.0}}


def test_errors_and_crashes_are_faults_of_a_room() -> None:
    job = {"op": "a", "room": "cuda", "sample": 0}
    good = {"name": "s", "type": "float32", "excess": 0.5, "fault": "", "max_error": 1, "max_allowed": 2}
    results = [(job, good), (job, good | {"excess": 3.0, "fault": "largest error"}), (job, {"error": "died"})]
    row = checks.accuracy_rows(results)["a, cuda"]
    assert row["samples"] == 3 and row["worst"]["float32"]["excess"] == 3.0 and len(row["faults"]) == 2
    assert not checks.accuracy_rows([(job, good | {"excess": "nan"})])["a, cuda"]["worst"]


def test_a_crash_does_not_catch_a_planted_fault() -> None:
    job = {"op": "a", "room": "cuda", "type": "float32"}
    results = [(job | {"mutant": 0}, {"caught": True, "by": "s"}), (job | {"mutant": 1}, {"caught": True, "by": "s"}),
               (job | {"mutant": 2}, {"caught": False}), (job | {"mutant": 3}, {"error": "died"})]  # fmt: skip
    row = checks.mutant_rows(results)["a, cuda"]
    assert (row["planted"], row["caught"], len(row["survivors"]), len(row["false_alarms"])) == (3, 1, 2, 1)
    assert not checks.mutant_rows([(job | {"mutant": 0}, {"caught": False})])["a, cuda"]["false_alarms"]
    assert checks.mutant_rows([(job | {"mutant": 0}, {"error": "x"})])["a, cuda"]["false_alarms"]


def test_the_summary_names_every_stage_and_fault() -> None:
    stages = {"accuracy": {"status": "failed", "seconds": 3.0, "faults": ["too far off"], "rooms": {}},
              "rest": {"status": "not run"}}  # fmt: skip
    text = summary({"device": "x", "passed": False, "stages": stages})
    assert "NOT PASSED" in text and "too far off" in text and "not run" in text


class _Clock:
    """Stands for the events, streams and graphs of a device: what is recorded is when the host came by."""

    def __init__(self, **options: Any) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, other: _Clock) -> float:
        return (other.at - self.at) * 1e3

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> None: ...

    def replay(self) -> None:
        time.sleep(2e-3)

    def wait_stream(self, other: Any) -> None: ...

    def synchronize(self) -> None: ...


def test_the_timer_of_graphs_counts_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Event", "Stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, _Clock)
    for name in ("stream", "graph", "current_stream", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda *args, **options: _Clock())
    calls = {"one": 0}

    def call() -> None:
        calls["one"] += 1

    machine = Machine("cuda")
    times = harness.take_turns({"graph": machine.graph([call] * 20), "launched": machine.launches([call])}, 0.1)
    assert 0.1 < times["graph"].p50 < 1.0 and times["launched"].p50 < 0.1
    assert calls["one"] > 23
