"""How many processor threads compute, and where."""

from __future__ import annotations

import os
from functools import cache

import torch

from eamfmeg_fast.errors import BackendError, OptionError
from eamfmeg_fast.kernels.compiled import library

MAX_THREADS = 1024


def use_threads(count: int | None = None, pin: bool = False) -> None:
    """Choose the threads of PyTorch's pool, which our kernels share and the whole process with them.

    Args:
        count: None leaves the number as it is: OMP_NUM_THREADS, `torch.set_num_threads`, or all processors.
        pin: keep each thread on a processor of its own until the process ends. Two threads that are woken on one
            processor make a frame take twice as long; but what this thread starts later is bound to its processor, too.

    Raises:
        OptionError: not such a number. BackendError: threads cannot be pinned here.
    """
    if count is not None:
        if not isinstance(count, int) or not 1 <= count <= MAX_THREADS:
            raise OptionError(f"threads {count!r}", f"a number from 1 to {MAX_THREADS}")
        torch.set_num_threads(count)
    if pin:
        _pin(torch.get_num_threads())


def _pin(count: int) -> None:
    allowed = _allowed()
    places = torch.tensor([allowed[i % len(allowed)] for i in range(count)], dtype=torch.int64)
    try:
        library("_C").pin_threads(places.data_ptr(), count)
    except (ValueError, RuntimeError) as error:
        raise BackendError(f"threads cannot be pinned here ({error})", "Linux", "Use pin=False.") from error


@cache
def _allowed() -> tuple[int, ...]:
    """The processors that this process may use; asked once, before a thread of it is bound to one."""
    if not hasattr(os, "sched_getaffinity"):
        raise BackendError("threads cannot be pinned on this system", "Linux", "Use pin=False.")
    return tuple(sorted(os.sched_getaffinity(0)))
