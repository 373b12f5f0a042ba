"""Binding threads to processors: what cannot be had is refused. Each in a process of its own, which stays bound."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from eamfmeg_fast.kernels.compiled import why_missing

_PIN = """
import sys, torch
from eamfmeg_fast.kernels.compiled import library
first, count = min(__import__("os").sched_getaffinity(0)), int(sys.argv[1])
places = torch.full((max(count, 1),), first, dtype=torch.int64)
try:
    library("_C").pin_threads(places.data_ptr(), count)
except (ValueError, RuntimeError) as error:
    sys.exit(type(error).__name__)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT RUN: threads are bound on Linux only")
@pytest.mark.parametrize(
    ("count", "limit", "error"),
    [(1, 1, ""), (0, 1, "ValueError"), (-1, 1, "ValueError"), (2, 1, "RuntimeError")],
    ids=["one", "none", "negative", "more than there may be"],
)
def test_a_team_is_bound_whole_or_not_at_all(count: int, limit: int, error: str) -> None:
    if reason := why_missing("_C"):
        pytest.skip(f"NOT RUN: {reason}")
    environment = {**os.environ, "OMP_THREAD_LIMIT": str(limit), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", _PIN, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.strip().splitlines()[-1:] == ([error] if error else [])
