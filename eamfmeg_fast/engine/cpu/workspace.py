"""Memory that is made once and used for every frame."""

from __future__ import annotations

import ctypes
import math
from functools import cache

import torch
from torch import Tensor


class Workspace:
    """Buffers by name.

    Whoever asks for the same name gets the same memory: what is needed at different times of a frame can share it.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Contiguous memory of that shape, holding whatever it held; larger memory where that is not enough."""
        wanted = math.prod(shape) * dtype.itemsize
        found = self._memory.get(name)
        if found is None or found.numel() < wanted:
            # Dropped first, so that the old and the new are never held together; nor this and what others have freed.
            self._memory.pop(name, None)
            give_back()
            found = self._memory[name] = torch.empty(wanted, dtype=torch.uint8)
        return found[:wanted].view(dtype).view(shape)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(x.numel() for x in self._memory.values())


def give_back() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it: after packing that is much."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # Only glibc has it.
        return None
