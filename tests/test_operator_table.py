"""The operators' figures: the table is the results, and the results are about the operators that there are."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eamfmeg_fast.kernels.registry import operators


def _module(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def result(root: Path) -> dict[str, Any]:
    return json.loads((root / "benchmarks/results/operators.json").read_text())


def test_the_readme_shows_the_results(root: Path, result: dict[str, Any]) -> None:
    made = _module(root, "operators_table")
    text = (root / "kernels/README.md").read_text()
    assert text.split(made.BEGIN)[1].split(made.END)[0].strip() == made.table(result)


def test_every_operator_and_room_was_measured(result: dict[str, Any]) -> None:
    known = operators()
    assert set(result["operators"]) == set(known)
    for name, row in result["operators"].items():
        assert set(row["rooms"]) == set(known[name].rooms)
        for room, found in row["rooms"].items():
            caught, planted = map(int, found["mutants"].split("/"))
            assert caught == planted and planted % len(known[name].rooms[room].mutants) == 0, (name, room)
            assert not found["faults"] and found["excess"] <= 1


def test_no_kernel_spills(result: dict[str, Any]) -> None:
    rows = [(name, row) for name, found in result["operators"].items() for row in found["triton"]]
    assert rows and not [(name, row["variant"], row["sm"]) for name, row in rows if row["spilled"]]


def test_the_timer_orders_variants_and_pins(root: Path) -> None:
    harness = _module(root, "harness")
    numbers: list[int] = []
    with harness.pinned(1):
        times = harness.interleave({"short": lambda: None, "long": lambda: numbers.extend(range(200_000))}, 0.2)
    assert times["short"].p50 < times["long"].p50
    assert times["long"].p20 <= times["long"].p50 <= times["long"].p80
