"""A small retargeter with seeded weights, and faces for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.retargeter import Retargeter

SIZE = 128


@pytest.fixture(scope="module")
def retargeter() -> Retargeter:
    """Seeded weights at half the size: quick, and every property but beauty is the same."""
    return Retargeter(fill_seeded(build_network(replace(PRESETS["small"], size=SIZE))))


@pytest.fixture
def fresh(retargeter: Retargeter) -> Iterator[Retargeter]:
    """The same one, without target and reference before and after."""
    retargeter._target = retargeter._reference = None
    yield retargeter
    retargeter._target = retargeter._reference = None


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Four frames of a lab clip with a clear movement; the first is neutral."""
    clip = lab_clip(HELD_OUT_SEEDS[1], action_units={12: 1.5, 4: 1.5}, size=SIZE, fps=50, seed=1, drift=0, noisy=False)
    return [clip.frames[t].numpy() for t in (0, (clip.onset + clip.apex) // 2, clip.apex, len(clip.frames) - 1)]


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    return lab_clip(HELD_OUT_SEEDS[9], size=SIZE, fps=25, seed=9, duration_s=0.1, noisy=False).frames[0].numpy()


@pytest.fixture(scope="module")
def big() -> np.ndarray:
    """A face with room around it, larger than the network's picture."""
    face = lab_clip(HELD_OUT_SEEDS[1], fps=25, seed=1, duration_s=0.1, noisy=False).frames[0].numpy()
    picture = np.full((300, 400, 3), 90, np.uint8)
    picture[20:276, 70:326] = face
    return picture


@pytest.fixture
def folder_of() -> Callable[..., Path]:
    """Writes frames into a folder, with a clip.json that says what else is given."""

    def write(path: Path, frames: list[np.ndarray], **notes: int) -> Path:
        path.mkdir()
        for number, frame in enumerate(frames, notes.get("origin", 0)):
            Image.fromarray(frame).save(path / f"img{number}.png")
        if notes:
            (path / "clip.json").write_text(json.dumps(notes))
        return path

    return write
