"""Times variants of one computation against each other: pinned, interleaved, medians, and no figure on a red gate."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

_WARMUP_S = 0.2
_WARMUPS = 3
_HOST_TURN_MS, _DEVICE_TURN_MS = 0.5, 1.0

Call = Callable[[], object]
Turn = Callable[[], float]


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


def interleave(variants: Mapping[str, Call], seconds: float = 3.0) -> dict[str, Timing]:
    """Run all variants in turn on the CPU, round after round, for about `seconds`; see `take_turns`."""
    return take_turns({name: host_turn([call]) for name, call in variants.items()}, seconds)


def take_turns(turns: Mapping[str, Turn], seconds: float) -> dict[str, Timing]:
    """Take all turns, round after round, for about `seconds` and at least five rounds.

    What slows the machine slows all of them.
    """
    taken: dict[str, list[float]] = {name: [] for name in turns}
    gc.disable()
    end = time.perf_counter() + seconds
    try:
        while time.perf_counter() < end or len(next(iter(taken.values()), [0.0] * 5)) < 5:
            for name, turn in turns.items():
                taken[name].append(turn())
    finally:
        gc.enable()
    return {name: _timing(sorted(times)) for name, times in taken.items()}


def host_turn(calls: Sequence[Call]) -> Turn:
    """Milliseconds of one call by the host's clock: all calls, as often as fill half a millisecond."""

    def once() -> float:
        start = time.perf_counter()
        for call in calls:
            call()
        return (time.perf_counter() - start) * 1e3

    end = time.perf_counter() + _WARMUP_S
    fastest = once()
    while time.perf_counter() < end:
        fastest = min(fastest, once())
    repeats = max(1, int(_HOST_TURN_MS / fastest))
    return lambda: sum(once() for _ in range(repeats)) / (repeats * len(calls))


def launch_turn(calls: Sequence[Call]) -> Turn:
    """Milliseconds of one call by the device's clock, each call launched from Python."""

    def all_calls() -> None:
        for call in calls:
            call()

    for _ in range(_WARMUPS):
        all_calls()
    return _device_turn(all_calls, len(calls))


def graph_turn(calls: Sequence[Call]) -> Turn:
    """Milliseconds of one call by the device's clock, all calls replayed from one CUDA graph: no launches from Python.

    One call given many times is timed on a warm L2 cache, as the network leaves it; calls on as many copies of the
    arguments as exceed the cache, on a cold one.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in [*calls, *calls, *calls][:_WARMUPS]:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    graph.replay()
    return _device_turn(graph.replay, len(calls))


def _device_turn(work: Call, calls: int) -> Turn:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def once(repeats: int) -> float:
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    repeats = max(1, int(_DEVICE_TURN_MS / max(min(once(1) for _ in range(3)), 1e-3)))
    return lambda: once(repeats) / (repeats * calls)


def _timing(times: list[float]) -> Timing:
    def at(share: float) -> float:
        return times[min(len(times) - 1, int(share * len(times)))]

    return Timing(at(0.2), at(0.5), at(0.8))
