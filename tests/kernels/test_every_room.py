"""What holds for every fast room of every operator: the error rule, its own memory only, the same bytes, caught faults.

The CPU room runs at each level of vector instructions. The CUDA room runs on a device where there is one, and through
the host shim of csrc/ where there is none. Triton's runs on a device or in the interpreter (test_interpreter.py).
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from eamfmeg_fast.kernels.compiled import library, why_missing
from eamfmeg_fast.kernels.mutants import count
from eamfmeg_fast.kernels.registry import Op, Room, Sample, operators
from eamfmeg_fast.kernels.testing import Judgement, judge, snapshot

OPS = operators()
_INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
_SANITIZE = os.environ.get("EAMFMEG_SANITIZE") == "1"
_LEVELS = {"portable": 0, "avx2": 1, "avx512": 2}
EVERY_ROOM = [pytest.param(op, room, id=f"{op.name}-{room.name}") for op in OPS.values() for room in op.rooms.values()]
EVERY_LEVEL = [
    pytest.param(op, op.rooms["cpu"], level, id=f"{op.name}-{level}") for op in OPS.values() for level in _LEVELS
]


class Runner:
    """Runs a room where it can run here."""

    def __init__(self, op: Op, room: Room, request: pytest.FixtureRequest) -> None:
        self.op, self.room, self.request = op, room, request
        self.on_host = room.name == "cuda" and not torch.cuda.is_available()
        on_device = room.name == "cuda" or (room.name == "triton" and not _INTERPRETING)
        self.device = "cuda" if on_device and not self.on_host else "cpu"

    def skip_missing(self) -> None:
        reason = "" if self.on_host else self.room.missing()
        if reason:
            pytest.skip(f"NOT RUN: {reason}")

    def samples(self) -> list[Sample]:
        small = _INTERPRETING or self.on_host
        return [s for s in self.op.samples() if (s.tiny or not small) and self.room.takes(*s.args)]

    def run(self, sample: Sample, mutant: int | None = None) -> Judgement:
        return judge(self.op, self.room, sample, self.device, **self._switches(mutant))

    def _switches(self, mutant: int | None) -> dict[str, Any]:
        if self.room.name == "triton":
            return {"mutant": mutant or 0}
        if self.on_host:
            return {"lib": self.request.getfixturevalue("cuda_on_host").with_mutant(mutant or 0)}
        library = "cuda_with_faults" if self.room.name == "cuda" else "faulty_library"
        if mutant is None and (self.room.name == "cuda" or not _SANITIZE):
            return {}
        return {"lib": self.request.getfixturevalue(library).with_mutant(mutant or 0)}

    def library(self) -> Any:
        """The compiled library whose CPU room runs."""
        return self.request.getfixturevalue("faulty_library") if _SANITIZE else library("_C")


def _check(runner: Runner) -> None:
    for sample in runner.samples():
        before = snapshot(sample.args)
        judgement = runner.run(sample)
        assert not judgement.fault, f"{sample.name}: {judgement.fault}"
        assert snapshot(sample.args) == before, sample.name


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_matches_reference_and_writes_only_its_output(op: Op, room: Room, request: pytest.FixtureRequest) -> None:
    """Every sample: the error rule holds, no poison is left, no byte beside the output or in the inputs has changed."""
    runner = Runner(op, room, request)
    runner.skip_missing()
    _check(runner)


@pytest.mark.parametrize(("op", "room", "level"), EVERY_LEVEL)
def test_matches_reference_at_every_level(op: Op, room: Room, level: str, request: pytest.FixtureRequest) -> None:
    """The same with the vector instructions of lesser processors."""
    runner = Runner(op, room, request)
    runner.skip_missing()
    compiled = runner.library()
    try:
        if compiled.limit_isa(_LEVELS[level]) != _LEVELS[level]:
            pytest.skip(f"NOT RUN: this processor has no {level}")
        _check(runner)
    finally:
        compiled.limit_isa(-1)


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_deterministic(op: Op, room: Room, request: pytest.FixtureRequest) -> None:
    """Three runs give the same bytes, and so do one thread and two."""
    runner = Runner(op, room, request)
    runner.skip_missing()
    before = torch.get_num_threads()
    try:
        for sample in runner.samples():
            runs = []
            for threads in (1, 2, 2):
                torch.set_num_threads(threads)
                runs.append(snapshot(runner.run(sample).outputs))
            assert runs[0] == runs[1] == runs[2], sample.name
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_mutants_are_caught(op: Op, room: Room, request: pytest.FixtureRequest) -> None:
    """Every fault planted in the room's own code fails in every type; without a fault all samples pass."""
    runner = Runner(op, room, request)
    runner.skip_missing()
    assert len(room.mutants) >= 8
    found = count(room, runner.samples(), runner.run)
    assert not found.false_alarms
    assert found.planted and not found.survivors


def test_the_cpu_room_is_here() -> None:
    """Where a compiler is, the compiled library is; without it this file would prove nothing."""
    assert why_missing("_C") == ""
