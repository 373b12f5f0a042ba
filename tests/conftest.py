"""Shared by all tests: fixed seeds, no network, and honest words for what a machine cannot run."""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: idle OpenMP threads sleep instead of spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker a core: a pool of threads in each would only get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _NoHypothesis(types.ModuleType):
    """Stands for hypothesis where it is absent: its tests say so, and the others in their files run."""

    @staticmethod
    def given(*strategies: Any, **named: Any) -> Callable[[Any], Any]:
        return pytest.mark.skip(reason="hypothesis is absent")

    @staticmethod
    def settings(**chosen: Any) -> Callable[[Any], Any]:
        return lambda function: function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **named: None


if importlib.util.find_spec("hypothesis") is None:
    sys.modules["hypothesis"] = _NoHypothesis("hypothesis")
    sys.modules["hypothesis.strategies"] = sys.modules["hypothesis"].strategies = _NoHypothesis("hypothesis.strategies")


def pytest_collection_finish() -> None:
    """The stand-in has done its work: PyTorch looks for the real one later."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, _NoHypothesis)]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and (not isinstance(address, tuple) or address[0] not in _LOOPBACK):
            raise RuntimeError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` say NOT RUN where there is no CUDA device."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="NOT RUN: no CUDA device"))
