"""The stage `operators`: each operator's call of one frame, in each room, against its rivals; errors beside speeds."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from harness import Timing, take_turns
from torch import Tensor

from eamfmeg_fast.kernels.registry import Op, as_tuple, operators
from eamfmeg_fast.kernels.testing import Judgement, compare, moved, upcast
from gpu.counting import Case, bytes_moved, cases, flops
from gpu.machine import Machine, in_order
from gpu.pool import Job, run_jobs
from gpu.report import Report
from gpu.rivals import Maker, copy_of, rivals

_WARM_CALLS, _MOST_COPIES = 20, 128
_SECONDS = {"warm": 0.3, "cold": 0.3, "launched": 0.15}
_COMPILE_S, _JOB_S = 75.0, 60.0
_COPY = "copy of as many bytes"


def operators_stage(report: Report, machine: Machine, deadline: float) -> None:
    """Compile what is to be compiled, side by side; then time, one case after the other, with nothing beside it."""
    clean = clean_rooms(json.loads(Path(sys.argv[4]).read_text()) if len(sys.argv) > 4 else {})
    jobs: list[Job] = [
        {"op": name, "case": i, "name": case.name, "rooms": clean.get(name, [])}
        for name, op in in_order()
        if machine.rooms_of(op)
        for i, case in enumerate(cases(op))
    ]
    # The type of the network first, then 16 bits.
    jobs.sort(key=lambda job: "float16" in job["name"])
    left_out: dict[str, dict[str, str]] = {}
    resources: dict[str, Any] = {}

    def compiled(job: Job, result: dict[str, Any]) -> None:
        if job["kind"] == "resources":
            resources[job["op"]] = result.get("rows", result)
            report.put(resources=resources)
        else:
            left_out[f"{job['op']}, {job['case']}"] = result.get("failed", {"*": result.get("error", "")})

    builds: list[Job] = [{"kind": "compile", **job} for job in jobs]
    if machine.device == "cuda":
        builds += [{"kind": "resources", "op": name} for name, op in in_order() if "triton" in op.rooms]
    halfway = time.monotonic() + (deadline - time.monotonic()) * 0.45
    run_jobs(builds, halfway, compiled, job_s=_COMPILE_S)
    rows: dict[str, Any] = {}

    def timed(job: Job, result: dict[str, Any]) -> None:
        rows.setdefault(job["op"], {})[job["name"]] = result
        report.put(operators=rows)
        if "error" in result or not result["judged"]:
            report.fault(f"{job['op']}, {job['name']}: {result.get('error') or 'no room was judged right: no speed'}")
        report.fault(*(f"{job['op']}, {job['name']}, {room}: {why}" for room, why in result.get("broken", {}).items()))

    timings = [{"kind": "speed", "left_out": left_out[f"{job['op']}, {job['case']}"], **job} for job in jobs]
    run_jobs(timings, deadline, timed, processes=1, job_s=_JOB_S)


def clean_rooms(result: dict[str, Any]) -> dict[str, list[str]]:
    """By operator, the rooms in which the accuracy was judged and found no fault; only these get a speed."""
    rows = result.get("stages", {}).get("accuracy", {}).get("rooms", {})
    clean: dict[str, list[str]] = {}
    for words, row in rows.items():
        name, room = words.split(", ")
        if row["samples"] and not row["faults"]:
            clean.setdefault(name, []).append(room)
    return clean


def on_device(machine: Machine, case: Case) -> tuple[Any, ...]:
    """Its arguments in memory of their own."""
    return tuple(moved(arg.clone() if isinstance(arg, Tensor) else arg, machine.device) for arg in case.args)


def compile_job(machine: Machine, job: Job) -> dict[str, Any]:
    """Compile the rivals of one case and run each once: later processes find the kernels in the cache."""
    op = operators()[job["op"]]
    case = cases(op)[job["case"]]
    torch._dynamo.reset()
    failed = {}
    for name, rival in rivals(op, case.args).items():
        if rival.compiled:
            try:
                rival.make(on_device(machine, case))()
                machine.synchronize()
            except Exception as error:  # a rival that does not compile is a finding
                failed[name] = f"{type(error).__name__}: {error}"[:600]
    return {"failed": failed}


def resources_job(machine: Machine, job: Job) -> dict[str, Any]:
    """Registers, spills and shared memory of the Triton kernels, by the compiler of this machine."""
    from eamfmeg_fast.kernels.triton_build import build

    room = importlib.import_module(f"eamfmeg_fast.kernels.{job['op']}.triton_kernel")
    rows = [{"variant": v.name, **dataclasses.asdict(build(v, int(machine.arch)))} for v in room.variants()]
    return {"rows": rows}


def speed_job(machine: Machine, job: Job) -> dict[str, Any]:
    """All figures of one case."""
    op = operators()[job["op"]]
    case = cases(op)[job["case"]]
    torch._dynamo.reset()
    rooms = [r for r in job["rooms"] if r in op.rooms and op.rooms[r].takes(*case.args)]
    refused = [r for r in machine.rooms_of(op) if not op.rooms[r].takes(*case.args)]
    if not rooms:
        return {"judged": bool(refused) and not set(machine.rooms_of(op)) - set(refused), "takes": []}
    size = bytes_moved(case.args, op.fake(*case.args))
    makers = {room: _of_room(machine, op, room) for room in rooms}
    makers["public function"] = lambda args: lambda: op.public(*args)
    broken = dict(job["left_out"])
    makers |= {n: r.make for n, r in rivals(op, case.args).items() if not (r.compiled and {n, "*"} & set(broken))}
    makers[_COPY] = copy_of(size)
    table, failed = measure(machine, case, makers, size)
    errors = _errors(machine, op, case, {n: m for n, m in makers.items() if n in table and n != _COPY})
    work = flops(op, case.args)
    for name, row in table.items():
        row.update(errors.get(name, {}))
        _rates(row, size, work if name != _COPY else 0)
    broken |= failed
    return {
        "judged": True,
        "bytes": size,
        "flops": work,
        "variants": table,
        "faster": {room: faster(table, room) for room in rooms if room in table},
        "failed": {name: why for name, why in broken.items() if name not in rooms},
        "broken": {name: why for name, why in broken.items() if name in rooms},
    }


def measure(
    machine: Machine, case: Case, makers: dict[str, Maker], size: int
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Times of all variants, interleaved: on a warm cache, on a cold one, and launched from Python; and who failed."""
    copies = min(_MOST_COPIES, 3 * machine.cache_bytes // max(size, 1) + 2)
    sets = [on_device(machine, case) for _ in range(copies)]
    table: dict[str, dict[str, Any]] = {name: {} for name in makers}
    failed: dict[str, str] = {}
    for kind, timer in {"warm": machine.graph, "cold": machine.graph, "launched": machine.launches}.items():
        if kind == "cold" and copies * size < 1.5 * machine.cache_bytes:
            continue
        turns = {}
        for name, make in makers.items():
            # What cannot be captured in a graph may still run from Python.
            if name in failed and kind != "launched":
                continue
            try:
                if kind == "cold":
                    calls = [make(args) for args in sets]
                else:
                    calls = [make(sets[0])] * (_WARM_CALLS if kind == "warm" else 1)
                calls[0]()
                machine.synchronize()
                turns[name] = timer(calls)
            except Exception as error:  # a rival that does not run is a finding; a room that does not is a fault
                failed.setdefault(name, f"{kind}: {type(error).__name__}: {error}"[:600])
        for name, timing in take_turns(turns, _SECONDS[kind]).items():
            table[name][f"{kind}_us"] = _microseconds(timing)
    return {name: row for name, row in table.items() if row}, failed


def _of_room(machine: Machine, op: Op, room: str) -> Maker:
    # In a rehearsal the CPU's room stands in.
    into = op.rooms[room if machine.device == "cuda" else "cpu"].into

    def make(args: tuple[Any, ...]) -> Any:
        def call() -> Any:
            out = op.fake(*args)
            into(out, *args)
            return out

        return call

    return make


def _errors(machine: Machine, op: Op, case: Case, makers: dict[str, Maker]) -> dict[str, dict[str, float]]:
    """By variant, its largest error, and as a share of what the rule allows."""
    same = as_tuple(op.reference(*case.args))
    exact = as_tuple((op.unrounded or op.reference)(*map(upcast, case.args)))
    found = {}
    for name, make in makers.items():
        outs = as_tuple(make(on_device(machine, case))())
        verdicts = tuple(compare(out, plain, ref.double()) for out, plain, ref in zip(outs, same, exact))
        judged = Judgement(verdicts, 0, outs)
        found[name] = {"max_error": max(v.max_error for v in verdicts), "share_of_allowed": judged.excess}
    return found


def _microseconds(timing: Timing) -> dict[str, float]:
    return {key: value * 1e3 for key, value in dataclasses.asdict(timing).items()}


def _rates(row: dict[str, Any], size: int, work: int) -> None:
    for kind in ("warm", "cold"):
        if f"{kind}_us" in row:
            median = row[f"{kind}_us"]["p50"]
            row[f"{kind}_gbs"] = size / median / 1e3
            if work:
                row[f"{kind}_tflops"] = work / median / 1e6


def faster(table: dict[str, dict[str, Any]], room: str) -> dict[str, dict[str, float]]:
    """How many times faster a room is than every other variant; against the copy, its share of that bandwidth."""
    kinds = [kind for kind in ("warm_us", "cold_us", "launched_us") if kind in table[room]]
    return {
        kind.removesuffix("_us"): {
            name: row[kind]["p50"] / table[room][kind]["p50"]
            for name, row in table.items()
            if name != room and kind in row
        }
        for kind in kinds
    }
