"""Writes a clip as a folder of PNGs with clip.json."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eamfmeg_fast.media.mark import png_text
from eamfmeg_fast.media.safe_file import CLIP_JSON

_COMPRESSION = 4


class FolderSink:
    """Frames go to `frame_000000.png` and so on, bit-exact, each with the mark; times only where the rate varies."""

    def __init__(self, folder: Path, fps: Fraction, mark: str, origin: int) -> None:
        self.folder, self.fps, self.origin = folder, fps, origin
        self.chunks = png_text(mark)
        self.times: list[Fraction] = []
        self.count, self.regular = 0, True

    def put(self, image: np.ndarray, time: Fraction) -> None:
        """Writes one PNG."""
        if self.regular and time != self.count / self.fps:
            self.times = [index / self.fps for index in range(self.count)]
            self.regular = False
        if not self.regular:
            self.times.append(time)
        name = f"frame_{self.origin + self.count:06d}.png"
        with open(self.folder / name, "xb") as file:
            Image.fromarray(image).save(file, "PNG", pnginfo=self.chunks, compress_level=_COMPRESSION)
        self.count += 1

    def finish(self) -> None:
        """Writes clip.json."""
        notes: dict[str, object] = {"fps": str(self.fps), "origin": self.origin, "frames": self.count}
        if self.times:
            notes["times"] = [str(time) for time in self.times]
        (self.folder / CLIP_JSON).write_text(json.dumps(notes) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Nothing is held open between frames."""
