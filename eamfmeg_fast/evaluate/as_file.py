"""A clip drawn the way a user's file is, with all of its defaults, and what the engine gave for every frame."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from eamfmeg_fast.engine import Engine, FrameResult
from eamfmeg_fast.faces import Picture
from eamfmeg_fast.media import open_writer
from eamfmeg_fast.retargeter import Retargeter


def drawn_as_file(
    retargeter: Retargeter, target: Picture, frames: list[Picture], fps: Fraction
) -> Iterator[FrameResult]:
    """`frames`, written to disk without loss and opened by their path, on `target`.

    The reference frame, smoothing, snapping and gain are those that a user gets who asks for nothing.

    Args:
        target: uint8 `[S, S, 3]`. frames: the same. fps: frames per second.
    """
    watched, engine = copy.copy(retargeter), _Watched(retargeter.engine)
    watched.engine = cast(Engine, engine)
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with open_writer(path, fps=fps, size=(width, height)) as writer:
            for frame in frames:
                writer.write(frame)
        for _ in watched(target, path, crop="none"):
            yield engine.drawn[-1]
            engine.drawn.clear()


class _Watched:
    """An engine whose steps are kept: a retargeted frame has no flow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.drawn: list[FrameResult] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, *args: Any, **options: Any) -> FrameResult:
        """As `Engine.step`."""
        self.drawn.append(self._engine.step(*args, **options))
        return self.drawn[-1]
