"""Times variants of one computation against each other: pinned, interleaved, medians, and no figure on a red gate."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

_WARMUP_S = 0.2


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one variant: median, and the 20th and 80th percentile."""

    p20: float
    p50: float
    p80: float


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """This process on its first `threads` processors, and as many threads in PyTorch and OpenMP."""
    before = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    torch.set_num_threads(threads)
    if allowed:
        os.sched_setaffinity(0, set(sorted(allowed)[:threads]))
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(before)


def interleave(variants: Mapping[str, Callable[[], object]], seconds: float = 3.0) -> dict[str, Timing]:
    """Run all variants in turn, round after round, for about `seconds`; what slows the machine slows all of them.

    Each turn repeats a variant until at least half a millisecond has passed, so that the clock is not what is measured.
    """
    repeats = {name: _repeats(call) for name, call in variants.items()}
    taken: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    end = time.perf_counter() + seconds
    try:
        while time.perf_counter() < end or len(next(iter(taken.values()))) < 5:
            for name, call in variants.items():
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                taken[name].append((time.perf_counter() - start) / repeats[name] * 1e3)
    finally:
        gc.enable()
    return {name: _timing(sorted(times)) for name, times in taken.items()}


def _repeats(call: Callable[[], object]) -> int:
    end = time.perf_counter() + _WARMUP_S
    fastest = float("inf")
    while time.perf_counter() < end or fastest == float("inf"):
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return max(1, int(5e-4 / fastest))


def _timing(times: list[float]) -> Timing:
    def at(share: float) -> float:
        return times[min(len(times) - 1, int(share * len(times)))]

    return Timing(at(0.2), at(0.5), at(0.8))
