"""`eamfmeg retarget`, one pair and many."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eamfmeg_fast.media import open_clip, probe
from eamfmeg_fast.provenance import read_mark, sha256_of, verify

Eamfmeg = Callable[..., Any]


def test_one_pair(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    said = eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", "-o", out, *quick, "--gain", "1.5")
    assert said.code == 0, said.err
    assert "3 frames" in said.out and said.err == ""
    assert (probe(out).width, probe(out).fps, probe(out).frame_count) == (256, 200, 3)
    mark = read_mark(out)
    assert mark is not None and mark.options["gain"] == 1.5 and mark.weights_sha256 == sha256_of(quick[1])
    assert verify(out).ok and sorted(os.listdir(tmp_path)) == ["out.mp4", "out.mp4.json"]


def test_json_says_everything(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    out, motion = tmp_path / "frames", tmp_path / "m.safetensors"
    args = ["--json", "--side-by-side", "--start", "1", "--reference-frame", "0", "--save-motion", motion]
    said = eamfmeg("retarget", kit / "face.png", kit / "clip", "-o", out, *quick, *args)
    assert said.code == 0, said.err
    report = json.loads(said.out)
    assert report["frames"] == 2 and report["output"] == str(out) and report["motion_file"] == str(motion)
    assert report["options"]["reference_frame"] == 0 and report["fps"] == "200" and report["lost"] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["report"]["options"] == report["options"] and manifest["mark"]["options"] == report["options"]
    with open_clip(out) as clip:
        assert next(iter(clip)).image.shape == (256, 768, 3)
    again = eamfmeg("retarget", kit / "face.png", motion, "-o", tmp_path / "again.gif", *quick, "--json")
    assert again.code == 0 and json.loads(again.out)["frames"] == 2
    shown = eamfmeg("inspect", motion, "--json")
    assert shown.code == 0 and json.loads(shown.out)["kind"] == "motion" and json.loads(shown.out)["frames"] == 2


def test_folders_with_folders(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    targets, clips = tmp_path / "targets", tmp_path / "clips"
    targets.mkdir()
    clips.mkdir()
    (targets / "a.png").write_bytes((kit / "face.png").read_bytes())
    (clips / "one.mp4").write_bytes((kit / "clip.mp4").read_bytes())
    (clips / "bad.mp4").write_bytes(b"not a video")
    args = [*quick, "--end", "1", "--format", "png", "--json"]
    said = eamfmeg("retarget", targets, clips, "-o", tmp_path / "out", *args)
    assert said.code == 4 and said.err.startswith("eamfmeg: error: 1 of 2 pairs failed") and said.err.count("\n") == 1
    rows = json.loads(said.out)
    assert (rows["pairs"], rows["failed"]) == (2, 1)
    assert [row["error"] is None for row in rows["results"]] == [False, True]
    assert os.listdir(tmp_path / "out") == ["a__one"] and verify(tmp_path / "out" / "a__one").ok


def test_a_table(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("source,driving,frame\nface,clip.mp4,1\n")
    args = ["--pairs", tmp_path / "pairs.csv", "-o", tmp_path / "out", "--end", "2", "--format", "gif"]
    said = eamfmeg("retarget", kit, kit, *args, *quick)
    assert said.code == 0, said.err
    mark = read_mark(tmp_path / "out" / "face__clip.gif")
    assert mark is not None and mark.options["reference_frame"] == 1


def test_a_batch_that_fails_whole_leaves_nothing(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("target,driving\nnone.png,none.mp4\n")
    said = eamfmeg("retarget", "--pairs", tmp_path / "pairs.csv", "-o", tmp_path / "out", *quick)
    assert said.code == 4 and os.listdir(tmp_path) == ["pairs.csv"]
    assert "FAILED" in said.out and "none.png" in said.err


def test_a_face_lost_with_stop_is_partial(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    clip = tmp_path / "clip"
    clip.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for number in range(6):
        picture = Image.open(kit / "face.png") if number < 4 else Image.fromarray(noise)
        picture.save(clip / f"{number}.png")
    out = tmp_path / "out"
    said = eamfmeg("retarget", kit / "face.png", clip, "-o", out, *quick, "--on-lost", "stop")
    assert said.code == 4 and "frame 4" in said.err and "lost in 1" in said.out
    assert probe(out).frame_count == 4 and verify(out).ok


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(kit: Path, quick: list[str], tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.mkdir()
    for number in range(400):
        os.link(kit / "face.png", long / f"{number}.png")
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "eamfmeg_fast", "retarget", str(kit / "face.png"), str(long)]
    command += ["-o", str(tmp_path / "out" / "o.mp4"), "--save-motion", str(tmp_path / "out" / "m.safetensors"), *quick]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_hear_signals
        )
        while process.poll() is None and not os.listdir(tmp_path / "out"):
            time.sleep(0.05)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == code, errors
        assert not os.listdir(tmp_path / "out") and "Traceback" not in errors


def _hear_signals() -> None:
    """A runner in the background may have told its children to ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
