"""The harness of rounds: processes that are stopped while they wait, batches that are thrown away, ratios by round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rounds
import worker
from rounds import Batch, Contestant, Pace, Tally, play, summary

linux = pytest.mark.skipif(sys.platform != "linux", reason="NOT RUN: reads /proc")

_TOY = """
import sys, threading, time
from worker import Ready, serve

def spin():
    while True:
        pass

def make():
    if "{kind}" == "broken":
        raise RuntimeError("cannot open")
    if "{kind}" == "spinning":
        threading.Thread(target=spin, daemon=True).start()
    print("noise that a library makes")
    def call(number):
        if "{kind}" == "fails" and number > 2:
            raise ValueError("frame " + str(number))
        if "{kind}" == "dies" and number > 2:
            sys.exit("gone")
        time.sleep({sleep})
    return Ready(call, lambda number: number, {{"kind": "{kind}"}})

serve(make)
"""
QUICK = Pace(warmup_s=0.0, seconds=0.02, at_least=3)


def toy(folder: Path, kind: str = "plain", sleep: float = 0.002) -> Contestant:
    environment = {**os.environ, "PYTHONPATH": str(Path(rounds.__file__).parent)}
    command = [sys.executable, "-c", _TOY.format(kind=kind, sleep=sleep)]
    return Contestant(kind, command, environment, folder / f"{kind}-{sleep}.txt")


def cpu_s(contestant: Contestant) -> float:
    words = Path(f"/proc/{contestant._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs beside the tests does not count."""
    monkeypatch.setattr(rounds, "MAX_OTHERS", 1e9)


def test_the_slower_one_is_slower_in_every_round(tmp_path: Path, quiet: None) -> None:
    field = {"base": toy(tmp_path, sleep=0.002), "slow": toy(tmp_path, sleep=0.02)}
    try:
        assert [c.ready(30)["kind"] for c in field.values()] == ["plain", "plain"]
        seen: list[int] = []
        tallies, failed = play(
            field, rounds=2, end=time.monotonic() + 60, pace=QUICK, after_round=lambda t, f: seen.append(len(t))
        )
    finally:
        [c.close() for c in field.values()]
    rows = summary(tallies, "base")
    assert not failed and seen == [2, 2]
    assert rows["base"]["ratio"] == 1 and rows["base"]["ratio_lo_hi"] == [1, 1]
    assert rows["slow"]["ratio_lo_hi"][1] < 0.7 and rows["slow"]["batches"] == 2
    assert rows["slow"]["p20_ms"] <= rows["slow"]["p50_ms"] <= rows["slow"]["p80_ms"]


@linux
def test_who_waits_does_not_spin(tmp_path: Path) -> None:
    contestant = toy(tmp_path, "spinning")
    try:
        contestant.ready(30)
        time.sleep(0.05)
        before = cpu_s(contestant)
        time.sleep(0.3)
        assert cpu_s(contestant) - before <= 0.02
        assert len(contestant.ask(30, task="batch", **vars(QUICK))["times_ms"]) >= 3
        assert cpu_s(contestant) > before
    finally:
        contestant.close()


@pytest.mark.parametrize(("kind", "words"), [("fails", "frame 3"), ("dies", "gone")])
def test_the_others_go_on_when_one_fails(tmp_path: Path, quiet: None, kind: str, words: str) -> None:
    field = {"base": toy(tmp_path), kind: toy(tmp_path, kind)}
    try:
        for contestant in field.values():
            contestant.ready(30)
        tallies, failed = play(field, rounds=2, end=time.monotonic() + 60, pace=QUICK)
    finally:
        [c.close() for c in field.values()]
    assert set(failed) == {kind} and words in failed[kind]
    assert set(summary(tallies, "base")) == {"base"} and len(tallies["base"].kept) == 2


def test_one_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    contestant = toy(tmp_path, "broken")
    try:
        assert "cannot open" in contestant.ready(30)["failed"]
    finally:
        contestant.close()


def test_one_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    contestant = toy(tmp_path, sleep=30)
    try:
        contestant.ready(30)
        assert "no answer" in contestant.ask(0.2, task="batch", **vars(QUICK))["failed"]
    finally:
        contestant.close()


def test_no_round_begins_that_could_not_end(tmp_path: Path, quiet: None) -> None:
    field = {"base": toy(tmp_path)}
    try:
        field["base"].ready(30)
        tallies, _ = play(field, rounds=50, end=time.monotonic() - 1, pace=QUICK)
    finally:
        field["base"].close()
    assert list(tallies["base"].kept) == [0]


@linux
def test_other_work_is_seen() -> None:
    busy = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    run = subprocess.Popen([sys.executable, "-c", busy])
    time.sleep(0.3)
    with worker.Others() as others:
        time.sleep(0.6)
    run.kill()
    run.wait()
    assert others.cores > 0.3


def test_own_work_is_not_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_busy_own = iter([(10.0, 5.0, 1.0), (12.0, 8.0, 3.5)])
    monkeypatch.setattr(worker.Others, "_now", staticmethod(lambda: next(wall_busy_own)))
    with worker.Others() as others:
        pass
    assert others.cores == pytest.approx((3.0 - 2.5) / 2)


def test_noisy_batches_are_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.5, 0.2, 0.01, 0.5, 0.3, 0.4])

    def ask(self: Contestant, timeout_s: float, **question: object) -> dict[str, object]:
        return {"times_ms": [1.0, 2.0, 3.0], "others": next(answers)}

    monkeypatch.setattr(Contestant, "ask", ask)
    field = {"base": Contestant.__new__(Contestant)}
    tallies, _ = play(field, rounds=2, end=time.monotonic() + 60, pace=QUICK)
    tally = tallies["base"]
    assert list(tally.kept) == [0] and tally.kept[0].others == 0.01
    assert tally.thrown == 5 and tally.noisy[1].others == 0.3
    assert summary(tallies, "base")["base"]["quiet"]
    noisy = Tally(noisy={0: Batch([4.0], 0.5)}, thrown=3)
    row = summary({"base": noisy}, "base")["base"]
    assert not row["quiet"] and row["p50_ms"] == 4.0


def test_ratios_are_of_the_same_round() -> None:
    base = Tally({0: Batch([10.0], 0), 1: Batch([40.0], 0)})
    fast = Tally({0: Batch([5.0], 0), 1: Batch([20.0], 0), 2: Batch([1.0], 0)})
    row = summary({"base": base, "fast": fast}, "base")["fast"]
    assert row["ratio"] == 2 and row["ratio_lo_hi"] == [2, 2] and row["batches"] == 3


@pytest.mark.parametrize(("count", "places"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2, 1, 0, 1])])
def test_a_clip_is_played_to_and_fro(count: int, places: list[int]) -> None:
    assert [worker.to_and_fro(number, count) for number in range(len(places))] == places


def test_latency_stops_at_its_time_or_at_its_frames() -> None:
    ready = worker.Ready(lambda number: time.sleep(0.01), lambda number: number, peak_mb=lambda: 5.0)
    found = worker.latency(ready, worker._count(), frames=3, seconds=10.0)
    assert len(found["times_ms"]) == 3 and found["peak_mb"] == 5 and json.dumps(found)
    assert len(worker.latency(ready, worker._count(), frames=1000, seconds=0.03)["times_ms"]) < 20
