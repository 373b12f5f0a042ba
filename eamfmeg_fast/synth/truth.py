"""Writes what is known about a clip to a safetensors file, frame by frame, so that no clip has to fit in memory."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.media.safe_file import Aside, media_errors

_TYPES = {"F32": np.float32, "BOOL": np.bool_}


class TruthFile:
    """A safetensors file being written; a context manager that leaves a whole file or none.

    Args:
        path: the final place.
        frames: T, the first axis of every array.
        shapes: by name, the type ("F32" or "BOOL") and the shape of one frame's part.
        metadata: by name; text as it is, all else as JSON.
    """

    def __init__(
        self, path: Path, frames: int, shapes: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, Any]
    ) -> None:
        self._aside, self._frames, self._shapes = Aside(path), frames, shapes
        facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
        header: dict[str, Any] = {"__metadata__": facts}
        self._places: dict[str, tuple[int, int]] = {}
        end = 0
        # The wider type first, so that every array lies at a multiple of its own size.
        for name, (kind, shape) in sorted(shapes.items(), key=lambda item: item[1][0] == "BOOL"):
            each = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
            header[name] = {"dtype": kind, "shape": [frames, *shape], "data_offsets": [end, end + each * frames]}
            self._places[name] = end, each
            end += each * frames
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._head, self._length = struct.pack("<Q", len(text)) + text, end
        self._file: BinaryIO | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays."""
        return tuple(self._shapes)

    def __enter__(self) -> TruthFile:
        self._aside.open()
        try:
            with media_errors(self._aside.final, "written"):
                self._file = open(self._aside.path, "r+b")
                self._file.write(self._head)
                self._file.truncate(len(self._head) + self._length)
        except BaseException:
            self._close()
            raise
        return self

    def put(self, name: str, frame: int, part: np.ndarray[Any, Any]) -> None:
        """One frame's part of an array.

        Raises:
            ShapeError: it has another shape. MediaError: it cannot be written.
        """
        kind, shape = self._shapes[name]
        if part.shape != shape or not 0 <= frame < self._frames or self._file is None:
            raise ShapeError(f"{name} of frame {frame} is {list(part.shape)}", f"{list(shape)}", "Check the clip.")
        start, each = self._places[name]
        with media_errors(self._aside.final, "written"):
            self._file.seek(len(self._head) + start + frame * each)
            self._file.write(np.ascontiguousarray(part, _TYPES[kind]).tobytes())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._file is not None:
                with media_errors(self._aside.final, "written"):
                    self._file.close()
                self._aside.commit()
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._aside.discard()
