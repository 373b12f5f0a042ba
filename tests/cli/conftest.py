"""What the command line tests share: seeded weights in a file, a face, a short clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.cli import run
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.media import open_writer
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.weights import save_network


class Said(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def eamfmeg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs the command line in this process."""

    def call(*args: object) -> Said:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.safetensors, face.png, clip/ (three frames at 200 fps) and clip.mp4 (the same)."""
    folder = tmp_path_factory.mktemp("kit")
    save_network(fill_seeded(build_network("small")), folder / "small.safetensors")
    lab = lab_clip(HELD_OUT_SEEDS[1], action_units={12: 1.0}, fps=50, seed=1, duration_s=0.1, noisy=False)
    Image.fromarray(lab.frames[0].numpy()).save(folder / "face.png")
    for name in ("clip", "clip.mp4"):
        with open_writer(folder / name, fps=200, size=(256, 256)) as writer:
            for frame in np.asarray(lab.frames[:3]):
                writer.write(frame)
    return folder


@pytest.fixture
def quick(kit: Path) -> list[str]:
    """Arguments of a retarget command that leave out only the two inputs and the output."""
    return ["--weights", str(kit / "small.safetensors")]
