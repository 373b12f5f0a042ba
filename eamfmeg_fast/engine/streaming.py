"""Many driving frames in a row, several on their way at once where the backend can do that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Picture = np.ndarray[Any, Any]
Call = Callable[[], Any]


class Pipe(Protocol):
    """What frames are put into and pictures come out of, in the same order."""

    def submit(self, frames: Tensor) -> None:
        """Begin with uint8 `[B, H, W, 3]`."""

    def collect(self) -> Tensor:
        """The pictures of the oldest frames, uint8 `[N, H, W, 3]`, on the host."""

    def close(self) -> None:
        """No more frames; what was not collected is lost."""


class PlainPipe:
    """Draws at once, before the caller can write the next frame into the same memory: for backends that do one thing at
    a time."""

    def __init__(self, draw: Callable[[Tensor], Tensor]) -> None:
        self._draw, self._waiting = draw, list[Tensor]()

    def submit(self, frames: Tensor) -> None:
        """Draw it."""
        self._waiting.append(self._draw(frames))

    def collect(self) -> Tensor:
        """What was drawn first."""
        return self._waiting.pop(0).cpu()

    def close(self) -> None:
        """Forget it."""
        self._waiting.clear()


def pump(
    make: Callable[[], Pipe],
    frames: Iterable[Picture],
    stack: Callable[[list[Picture]], Tensor],
    locked: Callable[[Call], Any],
    *,
    batch: int,
    ahead: int,
    targets: int,
) -> Iterator[Picture]:
    """Pictures of all frames, in order; an incomplete last batch is filled with its last frame.

    Args:
        make: the pipe, which takes `batch` frames at a time and bears `ahead + 1` of these on their way.
        stack: pictures as one tensor, or our error for one that cannot be used.
        locked: makes a call while nobody else uses the engine.
        targets: of the state; with more than one, all pictures of a frame come together.
    """
    pipe, waiting, given = locked(make), list[int](), iter(frames)
    try:
        # Copies where several are waited for: a camera may write all of its frames into the same memory.
        while chunk := [frame.copy() if batch > 1 else frame for frame in islice(given, batch)]:
            full = stack(chunk + chunk[-1:] * (batch - len(chunk)))
            locked(partial(pipe.submit, full))
            waiting.append(len(chunk))
            if len(waiting) > ahead:
                yield from _split(locked(pipe.collect), waiting.pop(0), targets)
        while waiting:
            yield from _split(locked(pipe.collect), waiting.pop(0), targets)
    finally:
        locked(pipe.close)


def _split(images: Tensor, count: int, targets: int) -> Iterator[Picture]:
    pictures = images.numpy()
    yield from [pictures] if targets > 1 else pictures[:count]


def factor_of(gain: float, scale: Tensor | None, like: Tensor) -> Tensor:
    """Gain times scale, `[N]`, as `network.move` multiplies displacements."""
    return torch.full((1,), gain, dtype=like.dtype, device=like.device) if scale is None else gain * scale
