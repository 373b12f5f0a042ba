"""The run behind `make gpu`, without a GPU: it loses nothing when killed, and nothing turns green by being left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from gpu import pool, run
from gpu.report import Report, outcome, plain, slug, write_aside
from gpu.stages import STAGES, Stage

_MODULE = """
import os, sys, time
from pathlib import Path
from gpu.report import Report
report = Report(Path(sys.argv[2]))
report.put(seen=1)
if sys.argv[1] == "hangs":
    os.fork()
    time.sleep(60)
if sys.argv[1] == "dies":
    print("last words", flush=True)
    os._exit(9)
if sys.argv[1] == "red":
    report.fault("a fault")
report.finish()
"""


def test_every_step_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "result.json"
    report = Report(path)
    report.put(first=1)
    report.fault("one")
    left = json.loads(path.read_text())
    assert left == {"finished": False, "faults": ["one"], "found": {"first": 1}}
    report.finish()
    assert json.loads(path.read_text())["finished"] is True
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_the_last_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_aside(path, {"a": 1})

    def broken(*args: Any) -> None:
        raise OSError

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError):
        write_aside(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_what_json_lacks_becomes_words() -> None:
    found = plain({"a": float("nan"), "b": [float("inf"), 1.23456789, True, None, Path("x")], 3: (1,)})
    assert found == {"a": "nan", "b": ["inf", 1.2346, True, None, "x"], "3": [1]}
    assert slug("NVIDIA RTX 4090 (x)") == "nvidia-rtx-4090-x" and slug("") == "unknown"


@pytest.mark.parametrize(
    ("code", "finished", "faults", "status"),
    [(0, True, [], "passed"), (0, True, ["x"], "failed"), (0, False, [], "failed"), (1, True, [], "failed"),
     (None, False, [], "failed")],
)  # fmt: skip
def test_a_stage_passes_only_when_it_ended_without_faults(
    tmp_path: Path, code: int | None, finished: bool, faults: list[str], status: str
) -> None:
    path = tmp_path / "stage.json"
    path.write_text(json.dumps({"finished": finished, "faults": faults, "found": {"kept": 1}}))
    row = outcome(path, code, 3.0, "words")
    assert row["status"] == status and row["kept"] == 1
    assert outcome(tmp_path / "none", 0, 1.0, "")["status"] == "failed"


@pytest.mark.parametrize(
    ("name", "word"), [("hangs", "stopped after"), ("dies", "last words"), ("red", "a fault"), ("green", "")]
)
def test_a_stage_in_its_own_process(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, word: str
) -> None:
    (tmp_path / "trial.py").write_text(_MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root / 'benchmarks'}")
    start = time.monotonic()
    monkeypatch.setattr(run, "_LOOK_S", 0.5)
    seen: list[dict[str, Any]] = []
    row = run.run_stage(Stage(name, 9, 1), 1.5, tmp_path, tmp_path / "so_far.json", seen.append, module="trial")
    assert time.monotonic() - start < 20
    assert row["seen"] == 1
    if name == "hangs":
        assert seen[-1]["seen"] == 1 and seen[-1]["status"] == "running"
    assert (row["status"] == "passed") == (name == "green")
    assert word in " ".join(row["faults"])


@pytest.mark.parametrize("together", [False, True])
def test_late_stages_keep_their_time(together: bool) -> None:
    planned = run.groups([stage.name for stage in STAGES], together)
    assert sum(planned, []) == list(STAGES) and (len(planned) < len(STAGES)) == together
    left = 450.0
    for i, group in enumerate(planned):
        given = run.limits(group, planned[i + 1 :], left)
        assert all(stage.least_s <= given[stage.name] <= stage.most_s for stage in group)
        left -= max(given.values())
    assert left >= 0
    assert max(run.limits(planned[0], planned[1:], 10.0).values()) < 0


def _fake_stages(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, str]) -> list[dict[str, Any]]:
    """All stages pass at once but for those in `statuses`; returns what was on disk when each began."""
    on_disk: list[dict[str, Any]] = []

    def fake(stage: Stage, seconds: float, folder: Path, so_far: Path, seen: Any) -> dict[str, Any]:
        on_disk.append(json.loads(so_far.read_text()))
        return {"status": statuses.get(stage.name, "passed"), "seconds": 0.0, "faults": []}

    monkeypatch.setattr(run, "run_stage", fake)
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    return on_disk


def _names() -> list[str]:
    return [stage.name for stage in STAGES]


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_leaves_what_it_knew(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'benchmarks'}"}
    command = [sys.executable, "-P", "-m", "gpu.run", "--rehearse", "--only", "identity", "--out", str(tmp_path)]
    process = subprocess.Popen([*command, "--stages", "accuracy"], env=environment, stdout=subprocess.DEVNULL)
    path, end = tmp_path / "gpu-rehearsal.json", time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    process.terminate()
    assert process.wait(20) == 1
    assert json.loads(path.read_text())["stages"]["accuracy"]["status"] in ("not run", "running", "passed")


def test_a_failed_stage_is_kept_and_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk = _fake_stages(monkeypatch, {"accuracy": "failed"})
    result = run.run_all(_names(), 450, tmp_path / "r.json", {"device": "x"})
    assert len(on_disk) == len(STAGES) and not result["passed"]
    assert on_disk[2]["stages"]["accuracy"]["status"] == "failed"
    assert on_disk[2]["stages"]["rest"]["status"] == "not run"
    assert [stage.name for stage in STAGES] == list(result["stages"])
    assert json.loads((tmp_path / "r.json").read_text()) == result


def test_a_stage_without_time_is_not_run_and_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_stages(monkeypatch, {})
    result = run.run_all(_names(), 40, tmp_path / "r.json", {"device": "x"})
    assert not result["passed"]
    assert result["stages"]["device"] == {"status": "not run", "faults": ["no time was left"]}


@pytest.mark.parametrize(
    ("arguments", "statuses", "code"),
    [([], {}, 0), ([], {"rest": "failed"}, 1), (["--stages", "device"], {}, 1), (["--only", "identity"], {}, 1),
     (["--rehearse"], {}, 3)],
)  # fmt: skip
def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], statuses: dict[str, str], code: int
) -> None:
    _fake_stages(monkeypatch, statuses)
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(run.torch.cuda, "get_device_name", lambda: "A Device")
    monkeypatch.setattr(run.torch.cuda, "get_device_properties", lambda i: types.SimpleNamespace(total_memory=8 << 30))
    monkeypatch.setattr(run.signal, "signal", lambda *arguments: None)
    for name in (run.ONLY, run.REHEARSAL, run.WORKERS):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["run", "--out", str(tmp_path), *arguments])
    assert run.main() == code
    assert (tmp_path / f"gpu-{'rehearsal' if code == 3 else 'a-device'}.json").exists()


def test_without_a_device_it_is_not_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(run.ONLY, "")
    monkeypatch.setattr(sys, "argv", ["run"])
    assert run.main() == 3 and capsys.readouterr().out.startswith("NOT RUN")


_WORKER = """
import json, os, sys, time
for line in sys.stdin:
    job = json.loads(line)
    if job["do"] == "die":
        sys.stderr.write("an illegal access")
        sys.stderr.flush()
        os._exit(1)
    if job["do"] == "hang":
        time.sleep(60)
    if job["do"] == "break":
        print(json.dumps({"error": "an illegal address", "broken": True}), flush=True)
        time.sleep(0.2)
        break
    print(json.dumps({"pid": os.getpid()}), flush=True)
"""


def test_a_job_that_kills_its_worker_costs_only_itself(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trial_worker.py").write_text(_WORKER)
    monkeypatch.setattr(pool, "_WORKER", "trial_worker")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    jobs = [{"do": "ok"}, {"do": "die"}, {"do": "ok"}, {"do": "hang"}, {"do": "ok"}, {"do": "break"}, {"do": "ok"}]
    results: list[dict[str, Any]] = []
    pool.run_jobs(jobs, time.monotonic() + 30, lambda job, result: results.append(result), processes=1, job_s=1.0)
    assert ["error" in result for result in results] == [False, True, False, True, False, True, False]
    assert "an illegal access" in results[1]["error"] and "stopped" in results[3]["error"]
    assert results[5] == {"error": "an illegal address"}
    assert len({results[i]["pid"] for i in (0, 2, 4, 6)}) == 4


def test_jobs_after_the_deadline_are_no_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[dict[str, Any]] = []
    pool.run_jobs([{}, {}], time.monotonic() - 1, lambda job, result: results.append(result))
    assert len(results) == 2 and all("not begun" in result["error"] for result in results)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lost_job_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(environment: dict[str, str]) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(pool, "_Child", no_process)
    with pytest.raises(RuntimeError, match="2 of 2 jobs"):
        pool.run_jobs([{}, {}], time.monotonic() + 5, lambda job, result: None, processes=2)


@pytest.mark.slow
def test_the_stages_run_on_the_cpu(root: Path, tmp_path: Path) -> None:
    """A rehearsal: the same code with the CUDA room on the host. Its figures mean nothing, and it is no pass."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'benchmarks'}"}
    command = [sys.executable, "-P", "-m", "gpu.run", "--rehearse", "--only", "identity", "--out", str(tmp_path)]
    stages = "device,accuracy,mutants"
    done = subprocess.run([*command, "--stages", stages], env=environment, capture_output=True, text=True)
    assert done.returncode == 3 and "NOT RUN" in done.stdout.splitlines()[-1], done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu-rehearsal.json").read_text())["stages"]
    assert [row["status"] for row in found.values()] == ["passed"] * 3, found
    caught = found["mutants"]["rooms"]["identity, cuda"]
    assert caught["caught"] == caught["planted"] > 0
    assert "float16" in found["accuracy"]["rooms"]["identity, cuda"]["worst"]
