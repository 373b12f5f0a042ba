"""The stages `tests` and `rest`: the tests of the operators in processes of their own, read from their JUnit files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eamfmeg_fast.kernels.registry import operators
from gpu.machine import Machine
from gpu.report import Report

ROOT = Path(__file__).resolve().parents[2]
_LACK = re.compile(r"NOT RUN|could not import|no CUDA|device")
# What these say is not about the device: interpreter and instruction levels are tested where they are.
_HARMLESS = ("the interpreter of Triton", "this processor has no", "hypothesis is absent")
_SHOWN = 40


@dataclass(frozen=True)
class Part:
    """One run of pytest.

    Attributes:
        arguments: for pytest.
        at_least: fewer tests that pass are a fault.
    """

    name: str
    arguments: tuple[str, ...]
    at_least: int


def tests(report: Report, machine: Machine, deadline: float) -> None:
    """Rooms on the device on all samples, and everything marked `gpu`; planted faults are the stage `mutants`."""
    rooms = "tests/kernels/test_every_room.py"
    count = {room: sum(room in op.rooms for op in operators().values()) for room in ("cuda", "triton")}
    parts = [Part(room, (rooms, "-k", f"{room} and not mutants"), 2 * count[room]) for room in count if count[room]]
    parts.append(Part("marked gpu", ("-m", "gpu", *marked(ROOT / "tests")), len(operators())))
    _run_parts(report, parts, deadline)


def rest(report: Report, machine: Machine, deadline: float) -> None:
    """The other tests of the operators, with this machine's PyTorch and Python; builds for devices are left out."""
    left_out = ("tests/kernels/test_builds.py", "tests/kernels/test_interpreter.py", "tests/kernels/host_shim")
    ignored = tuple(f"--ignore={path}" for path in left_out)
    arguments = ("tests/kernels", *ignored, "-m", "not gpu", "-k", "not (cuda or triton)")
    report.put(left_out=list(left_out))
    _run_parts(report, [Part("rest", arguments, 1)], deadline)


def marked(folder: Path) -> list[str]:
    """Test files with tests marked `gpu`; only these are imported: others may need packages that are absent."""
    files = sorted(folder.rglob("test_*.py"))
    return [str(path) for path in files if "pytest.mark.gpu" in path.read_text()]


def _run_parts(report: Report, parts: Sequence[Part], deadline: float) -> None:
    """Side by side: most of the time goes to references on the processor."""
    with TemporaryDirectory() as folder:
        threads = str(max(1, (os.cpu_count() or 1) // len(parts)))
        # No plug-in loads by itself: what they add differs from machine to machine.
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": threads}
        running = []
        for part in parts:
            junit = Path(folder) / f"{part.name}.xml"
            command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}"]
            words = (Path(folder) / f"{part.name}.txt").open("w+")
            process = subprocess.Popen(
                [*command, *part.arguments], cwd=ROOT, env=environment, stdout=words, stderr=subprocess.STDOUT
            )
            running.append((part, junit, words, process))
        for part, junit, words, process in running:
            try:
                code: int | None = process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
            words.seek(0)
            row, faults = judged(part, junit, code, words.read())
            words.close()
            report.put(**{part.name: row})
            report.fault(*faults)


def judged(part: Part, junit: Path, code: int | None, words: str) -> tuple[dict[str, Any], list[str]]:
    """The figures of one run of pytest, and why it is red; code None: it was stopped."""
    try:
        row = read_junit(junit.read_text())
    except (OSError, ET.ParseError):
        row = {"passed": 0, "failed": [], "skipped": {}}
    faults = [f"{part.name}: {name}: {why}" for name, why in row["failed"][:_SHOWN]]
    if code is None:
        faults.append(f"{part.name}: stopped for time; it said: {words[-400:]}")
    elif code != 0 and not row["failed"]:
        faults.append(f"{part.name}: pytest ended with {code}; it said: {words[-1200:]}")
    if row["passed"] < part.at_least:
        faults.append(f"{part.name}: {row['passed']} tests passed, at least {part.at_least} were to")
    faults += [f"{part.name}: skipped {len(names)}: {why}" for why, names in row["skipped"].items() if _is_lack(why)]
    row["skipped"] = {why: len(names) for why, names in row["skipped"].items()}
    return row, faults


def _is_lack(reason: str) -> bool:
    """Whether a skip is about what this machine was to have."""
    return bool(_LACK.search(reason)) and not any(word in reason for word in _HARMLESS)


def read_junit(text: str) -> dict[str, Any]:
    """Passed (a number), failed (name and first words), skipped (names by reason)."""
    passed, failed = 0, []
    skipped: dict[str, list[str]] = {}
    for case in ET.fromstring(text).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = [found for kind in ("failure", "error") for found in case.findall(kind)]
        left_out = case.find("skipped")
        if wrong:
            failed.append([name, (wrong[0].get("message") or wrong[0].text or "")[:700]])
        elif left_out is not None:
            skipped.setdefault((left_out.get("message") or "no reason given")[:200], []).append(name)
        else:
            passed += 1
    return {"passed": passed, "failed": failed, "skipped": skipped}
