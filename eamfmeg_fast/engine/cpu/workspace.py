"""Memory that is made once and used for every frame."""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Buffers by name; a name that is asked for with another shape or type gets new memory."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Contiguous memory of that shape, holding whatever it held."""
        found = self._buffers.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            # Dropped first, so that the old and the new are never held together.
            self._buffers.pop(name, None)
            found = self._buffers[name] = torch.empty(shape, dtype=dtype)
        return found

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(x.numel() * x.element_size() for x in self._buffers.values())
