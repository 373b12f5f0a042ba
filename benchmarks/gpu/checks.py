"""The stages `accuracy` and `mutants`: every sample of every room, and every fault planted in it, on the device."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eamfmeg_fast.kernels.registry import Op
from eamfmeg_fast.kernels.side_build import SIDE_LIBRARY
from eamfmeg_fast.kernels.testing import element_type
from gpu.machine import Machine, in_order
from gpu.pool import Job, run_jobs
from gpu.report import Report

_SHOWN = 12


def accuracy(report: Report, machine: Machine, deadline: float) -> None:
    """The largest error of each room in each type, as a share of what the rule allows."""
    with TemporaryDirectory() as folder:
        library = str(Path(folder) / SIDE_LIBRARY) if machine.device == "cpu" else ""
        if library:
            machine.build_with_faults(Path(folder))
        jobs = [
            {"kind": "accuracy", "op": name, "room": room, "sample": i, "library": library if room == "cuda" else ""}
            for name, op in in_order()
            for room in machine.rooms_of(op)
            for i in machine.samples(op, room)
        ]
        results: list[tuple[Job, dict[str, Any]]] = []

        def each(job: Job, result: dict[str, Any]) -> None:
            results.append((job, result))
            if len(results) % 20 == 0:
                report.put(rooms=accuracy_rows(results))

        run_jobs(jobs, deadline, each)
    rows = accuracy_rows(results)
    report.put(samples=len(results), rooms=rows)
    report.fault(*(f"{room}: {fault}" for room, row in rows.items() for fault in row["faults"][:_SHOWN]))
    if not jobs:
        report.fault("no room to judge")


def accuracy_rows(results: Iterable[tuple[Job, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """By "operator, room": samples, worst share of the allowed error by type, and faults."""
    rows: dict[str, dict[str, Any]] = {}
    for job, result in results:
        row = rows.setdefault(f"{job['op']}, {job['room']}", {"samples": 0, "worst": {}, "faults": []})
        row["samples"] += 1
        if "error" in result:
            row["faults"].append(f"sample {job['sample']}: {result['error']}")
            continue
        if result["fault"]:
            row["faults"].append(f"{result['name']}: {result['fault']}")
        worst = row["worst"].get(result["type"])
        # A share that is no number comes as a word; it is a fault and has no place in a ranking.
        if isinstance(result["excess"], float | int) and (worst is None or result["excess"] > worst["excess"]):
            kept = ("excess", "name", "max_error", "max_allowed")
            row["worst"][result["type"]] = {key: result[key] for key in kept}
    return dict(sorted(rows.items()))


def mutants(report: Report, machine: Machine, deadline: float) -> None:
    """Faults planted in the Triton kernels and in the CUDA sources, each in every type."""
    with TemporaryDirectory() as folder:
        start = time.monotonic()
        machine.build_with_faults(Path(folder))
        report.put(build_s=time.monotonic() - start)
        library = str(Path(folder) / SIDE_LIBRARY)
        jobs = [job for name, op in in_order() for room in machine.rooms_of(op) for job in _planted(name, op, room)]
        for job in jobs:
            job["library"] = library if job["room"] == "cuda" else ""
        results: list[tuple[Job, dict[str, Any]]] = []

        def each(job: Job, result: dict[str, Any]) -> None:
            results.append((job, result))
            if len(results) % 50 == 0:
                report.put(rooms=mutant_rows(results))

        run_jobs(jobs, deadline, each)
    rows = mutant_rows(results)
    report.put(rooms=rows)
    for room, row in rows.items():
        report.fault(*(f"{room}: {fault}" for fault in [*row["false_alarms"], *row["survivors"]][:_SHOWN]))
    if not jobs:
        report.fault("no planted fault to look for")


def _planted(name: str, op: Op, room: str) -> list[Job]:
    """One job for each fault and type, and one for each type without a fault."""
    groups: dict[str, list[int]] = {}
    for i, sample in enumerate(op.samples()):
        if sample.tiny and op.rooms[room].takes(*sample.args):
            groups.setdefault(str(element_type(sample)).removeprefix("torch."), []).append(i)
    return [
        {"kind": "mutant", "op": name, "room": room, "mutant": number, "type": kind, "samples": group}
        for number in range(len(op.rooms[room].mutants) + 1)
        for kind, group in groups.items()
    ]


def mutant_rows(results: Iterable[tuple[Job, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """By "operator, room": how many were planted and caught; survivors; samples that fail without a fault."""
    rows: dict[str, dict[str, Any]] = {}
    for job, result in results:
        empty: dict[str, Any] = {"planted": 0, "caught": 0, "survivors": [], "false_alarms": []}
        row = rows.setdefault(f"{job['op']}, {job['room']}", empty)
        words = f"{job['type']}: {result.get('error') or result.get('by') or 'no sample shows it'}"
        if job["mutant"] == 0:
            if result.get("caught") is not False:
                row["false_alarms"].append(f"without a fault, {words}")
            continue
        row["planted"] += 1
        # A crash is no proof: a fault has to show in the values.
        if result.get("caught"):
            row["caught"] += 1
        else:
            row["survivors"].append(f"fault {job['mutant']}, {words}")
    return dict(sorted(rows.items()))
