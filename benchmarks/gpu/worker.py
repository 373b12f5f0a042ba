"""A worker of gpu/pool.py: reads jobs from its input, one JSON object a line, and answers each with a line."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from eamfmeg_fast.kernels.registry import Op, Sample, operators
from eamfmeg_fast.kernels.side_build import SideLibrary
from eamfmeg_fast.kernels.testing import Judgement, element_type, judge
from gpu import speed
from gpu.machine import Machine, here
from gpu.pool import Job
from gpu.report import plain


@functools.cache
def _samples(name: str) -> Sequence[Sample]:
    return operators()[name].samples()


@functools.cache
def _library(path: str) -> SideLibrary:
    return SideLibrary(Path(path))


def _judge(machine: Machine, job: Job, op: Op, sample: Sample, mutant: int) -> Judgement:
    library = _library(job["library"]) if job.get("library") else None
    room = op.rooms[job["room"]]
    return judge(op, room, sample, machine.device, **machine.switches(job["room"], library, mutant))


def accuracy(machine: Machine, job: Job) -> dict[str, Any]:
    """One room on one sample."""
    op, sample = operators()[job["op"]], _samples(job["op"])[job["sample"]]
    judged = _judge(machine, job, op, sample, 0)
    return {
        "name": sample.name,
        "type": str(element_type(sample)).removeprefix("torch."),
        "excess": judged.excess,
        "fault": judged.fault,
        "max_error": max((v.max_error for v in judged.verdicts), default=0.0),
        "max_allowed": max((v.max_allowed for v in judged.verdicts), default=0.0),
    }


def mutant(machine: Machine, job: Job) -> dict[str, Any]:
    """One planted fault on the tiny samples of one type, until it shows."""
    op = operators()[job["op"]]
    for number in job["samples"]:
        sample = _samples(job["op"])[number]
        if _judge(machine, job, op, sample, job["mutant"]).fault:
            return {"caught": True, "by": sample.name}
    return {"caught": False}


def frame(machine: Machine, job: Job) -> dict[str, Any]:
    """Whole frames; the engine is imported by the jobs that need it."""
    from gpu import frames

    return frames.frame_job(machine, job)


KINDS: dict[str, Callable[[Machine, Job], dict[str, Any]]] = {
    "accuracy": accuracy,
    "mutant": mutant,
    "compile": speed.compile_job,
    "resources": speed.resources_job,
    "speed": speed.speed_job,
    "frame": frame,
}


def answer(machine: Machine, job: Job) -> dict[str, Any]:
    """The result of one job, or the error that it met."""
    try:
        with torch.no_grad():
            result = KINDS[job["kind"]](machine, job)
        machine.synchronize()
        return result
    except Exception as error:  # whatever a kernel or a compiler throws is a finding, not the end of the run
        return {"error": f"{type(error).__name__}: {error}"[:1500]}


def _broken(machine: Machine) -> bool:
    """After an illegal access every further call fails: the process has to go."""
    try:
        machine.synchronize()
    except RuntimeError:
        return True
    return False


def main() -> None:
    """Answer until the input ends; nothing but answers goes to the output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    machine = here()
    for line in sys.stdin:
        result = answer(machine, json.loads(line))
        broken = "error" in result and _broken(machine)
        answers.write(json.dumps(plain({**result, "broken": broken})) + "\n")
        answers.flush()
        if broken:
            break
    answers.flush()
    # The handles of a broken device cannot be put away in order.
    os._exit(0)


if __name__ == "__main__":
    main()
