"""`eamfmeg eval clips`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eamfmeg_fast.provenance import verify

Eamfmeg = Callable[..., Any]


def test_many_pairs_with_one_that_fails(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    out = tmp_path / "new" / "out"
    args = ["--driving", tmp_path / "bad.mp4", "--driving", kit / "clip", "--target", kit / "face.png", *quick]
    said = eamfmeg("eval", "clips", *args, "--crop", "auto", "--out", out, "--clips")
    assert said.code == 4 and "1 of 2 pairs failed" in said.err and said.err.count("\n") == 1
    head, bad, good, mean = said.out.splitlines()
    assert "corr" in head and "FAILED" in bad and good.startswith("clip on face.png") and mean.startswith("mean")
    assert good.split()[-7:-1] == mean.split()[-7:-1]
    assert sorted(os.listdir(out)) == [
        "face__clip.mp4", "face__clip.mp4.json", "face__clip.svg", "scores.json", "scores.md",
    ]  # fmt: skip
    assert verify(out / "face__clip.mp4").ok
    kept = json.loads((out / "scores.json").read_text())
    assert kept["preset"] == "small" and "/" in kept["plan"] and len(kept["weights_sha256"]) == 64
    made = kept["pairs"][1]["settings"]
    assert made["smoothing"] == "none" and made["reference_frame"] in (0, "steadied 0-1") and made["gain"] == 1.0
    assert made["still_px"] == kept["still_px"] > 0 and made["relative_occlusion"] and kept["relative_occlusion"]
    assert kept["failed"] == 1 and kept["crop"] == "auto" and f"{kept['mean']['corr']:.2f}" == mean.split()[-7]


def test_a_list_and_a_clip_that_is_there_already(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    rows = [{"driving": str(kit / "clip"), "target": str(kit / "face.png"), "output": str(kit / "clip")}]
    pairs.write_text(json.dumps(rows))
    said = eamfmeg("eval", "clips", pairs, *quick, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["pairs"][0]["output"] == "clip" and found["pairs"][0]["error"] is None
    # The clip repeats itself, and begins with the target.
    assert found["mean"]["corr"] == pytest.approx(1) and found["mean"]["start"] == 99 and found["failed"] == 0
    args = ["--driving", kit / "clip", "--target", kit / "face.png", "--compare", kit / "clip", "--json"]
    assert json.loads(eamfmeg("eval", "clips", *args, *quick).out)["mean"] == found["mean"]
    assert eamfmeg("eval", "clips", *args, *quick, "--gain", "2").code == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--crop", "1,2,3,4"], "crop"),
        (["--grey", "both"], "grey"),
        (["--clips"], "--out"),
        (["--driving", "{kit}/clip", "--out", "{out}"], "same file names"),
        (["--compare", "a.mp4", "--compare", "b.mp4"], "2 clips to compare"),
        (["--out", "{kit}/face.png"], "in the way"),
        (["--out", "{kit}/face.png/new"], "cannot be written"),
        (["pairs.csv"], "a list and single clips"),
    ],
)
def test_what_makes_no_sense_is_refused(
    eamfmeg: Eamfmeg, kit: Path, tmp_path: Path, more: list[str], words: str
) -> None:
    extra = [text.format(kit=kit, out=tmp_path / "out") for text in more]
    said = eamfmeg("eval", "clips", "--driving", kit / "clip", "--target", kit / "face.png", *extra)
    assert said.code == 2 and words in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nothing_to_do_is_refused(eamfmeg: Eamfmeg) -> None:
    assert eamfmeg("eval", "clips").code == 2
