"""An engine that runs for hours: its memory stays what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
@pytest.mark.parametrize("update", ["dense", "sparse"])
def test_memory_does_not_grow(update: str) -> None:
    command = [sys.executable, str(SOAK), "--steps", "300", "--update", update]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    row = json.loads(run.stdout)
    assert row["steps"] == 300 and row["rss_mib_at_100"] > 50
