"""The demonstration: every file it promises is there, carries the mark and is what its manifest says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eamfmeg_fast.demo.run
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.demo.__main__ import main
from eamfmeg_fast.demo.sheet import Phase, contact_sheet
from eamfmeg_fast.media import probe
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.provenance import verify
from eamfmeg_fast.retargeter import Retargeter
from eamfmeg_fast.weights import save_network, store


@pytest.mark.slow
def test_what_the_demonstration_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(fill_seeded(build_network("small")), tmp_path / f"{DEFAULT_WEIGHTS}.safetensors")
    monkeypatch.setattr(store, "PRETRAINED", tmp_path)
    monkeypatch.setattr(eamfmeg_fast.demo.run, "_FPS", 25)
    monkeypatch.chdir(tmp_path)
    assert main() == 0
    said = capsys.readouterr().out
    names = {"demo.mp4", "demo_side_by_side.mp4", "demo_sheet.png", "driving.mp4", "target.png"}
    made = names - {"target.png"}
    assert set(os.listdir("out")) == names | {f"{name}.json" for name in made}
    assert "per second" in said and all(f"out/{name}" in said for name in names)
    for name in made:
        assert verify(Path("out", name)).problems == ()
    result, beside = probe("out/demo.mp4"), probe("out/demo_side_by_side.mp4")
    assert (result.width, beside.width) == (256, 768) and result.fps == 25
    assert result.frame_count == beside.frame_count == probe("out/driving.mp4").frame_count
    with Image.open("out/demo_sheet.png") as sheet:
        assert sheet.width > 8 * 256 and sheet.height > 3 * 256


@pytest.mark.slow
def test_a_sheet_of_smaller_panels_shows_the_same() -> None:
    retargeter = Retargeter(fill_seeded(build_network("small")), device="cpu")
    frames = np.random.default_rng(4).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    target = retargeter.open_target(frames[0], "none")
    phases = [Phase("onset", 0, frames[0], frames[0]), Phase("apex", 1, frames[1], frames[0])]
    large, small = (contact_sheet(retargeter, target, phases, panel=panel) for panel in (256, 64))
    assert large.width - small.width == 8 * 192 and large.height - small.height == 2 * 192
    shown = np.asarray(small)[34 : 34 + 64, 74 : 74 + 64].astype(int)
    assert np.abs(shown - frames[0].reshape(64, 4, 64, 4, 3).mean((1, 3))).max() <= 1


def test_without_weights_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "PRETRAINED", tmp_path)
    monkeypatch.setattr(eamfmeg_fast.demo.run, "_FPS", 25)
    monkeypatch.chdir(tmp_path)
    assert main() == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert f"no weights called {DEFAULT_WEIGHTS}" in errors[-1]
