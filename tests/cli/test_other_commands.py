"""Version, help, verify, inspect, convert, doctor, synth, and the boundary around all of them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch

import eamfmeg_fast
from eamfmeg_fast import cli
from eamfmeg_fast.doctor import Finding
from eamfmeg_fast.media import probe
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.provenance import verify

Eamfmeg = Callable[..., Any]


def test_version_and_help(eamfmeg: Eamfmeg) -> None:
    assert eamfmeg("--version").out == f"eamfmeg_fast {eamfmeg_fast.__version__}\n"
    said = eamfmeg()
    assert said.code == 0 and all(verb in said.out for verb in ("retarget", "convert", "synth", "doctor", "verify"))
    assert eamfmeg("retarget", "--help").code == 0
    said = eamfmeg("eval")
    assert said.code == 0 and "lab" in said.out


def test_a_set_of_lab_clips(eamfmeg: Eamfmeg, tmp_path: Path) -> None:
    out = tmp_path / "set"
    args = ["--clips", "2", "--subjects", "1", "--size", "64", "--fps", "50", "--truth", "full", "--json"]
    said = eamfmeg("synth", out, *args)
    assert said.code == 0, said.err
    with (out / "annotations.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units",
                    "Estimated Emotion"]  # fmt: skip
    full = json.loads(said.out)["clips"]
    with (out / "annotations_full.csv").open(newline="") as file:
        assert [row["clip_id"] for row in csv.DictReader(file)] == ["sub01/EP01_01f", "sub01/EP02_02f"]
    for row, facts in zip(rows, full, strict=True):
        onset, apex, offset = map(int, row[3:6])
        assert row[0] == "1" and row[2] == row[6] == "" and onset < apex < offset < facts["n_frames"]
        assert all(unit.isdigit() for unit in row[7].split("+")) and row[8] in ("happiness", "surprise")
        assert verify(out / facts["path"]).ok and probe(out / facts["path"]).frame_count == facts["n_frames"]
        truth = safetensors.numpy.load_file(out / facts["truth"])
        assert truth["displacement_px"].shape == (facts["n_frames"], 64, 64, 2)
        assert truth["intensity"].sum(1).argmax() == apex
    again = eamfmeg("synth", tmp_path / "again", *args)
    assert [row["seed"] for row in json.loads(again.out)["clips"]] == [row["seed"] for row in full]
    first = "clips/sub01/EP01_01f/frame_000003.png"
    assert (out / first).read_bytes() == (tmp_path / "again" / first).read_bytes()
    assert eamfmeg("synth", out, *args).code == 2
    assert eamfmeg("synth", out, *args, "--overwrite").code == 0


def test_chosen_action_units(eamfmeg: Eamfmeg, tmp_path: Path) -> None:
    args = ["--clips", "1", "--size", "64", "--fps", "50", "--layout", "mp4", "--truth", "none"]
    said = eamfmeg("synth", tmp_path / "set", *args, "--action-units", "4:0.7,7")
    assert said.code == 0 and "1 clips" in said.out
    rows = list(csv.reader((tmp_path / "set" / "annotations.csv").open(newline="")))
    assert rows[1][7:] == ["4+7", "others"]
    assert sorted(os.listdir(tmp_path / "set")) == ["annotations.csv", "annotations_full.csv", "clips"]


def test_verify_tells_good_from_bad(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", "-o", out, *quick, "--end", "1").code == 0
    said = eamfmeg("verify", out, "--json")
    assert said.code == 0 and json.loads(said.out)[0]["ok"]
    with out.open("ab") as file:
        file.write(b"\0")
    said = eamfmeg("verify", out, kit / "face.png")
    assert said.code == 2 and said.out.count("BAD") == 2 and "2 of 2" in said.err


def test_inspect_and_convert(eamfmeg: Eamfmeg, kit: Path, tmp_path: Path) -> None:
    said = eamfmeg("inspect", kit / "small.safetensors", "--json")
    assert said.code == 0 and json.loads(said.out)["usable"]
    state = fill_seeded(build_network("small")).state_dict()
    parts = {part: {} for part in ("generator", "kp_detector", "edge_predictor", "attention_module")}  # type: dict[str, dict[str, torch.Tensor]]
    for name, tensor in state.items():
        part, key = name.split(".", 1)
        parts[part][key] = tensor
    torch.save({**parts, "epoch": 3}, tmp_path / "vox.pth.tar")
    said = eamfmeg("convert", tmp_path / "vox.pth.tar", tmp_path / "vox.safetensors", "--dtype", "float16", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["preset"] == "small"
    assert eamfmeg("convert", tmp_path / "vox.pth.tar", tmp_path / "vox.safetensors").code == 2
    assert eamfmeg("inspect", tmp_path / "vox.safetensors").out.rstrip().endswith("ready to load")


def test_doctor(eamfmeg: Eamfmeg, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = Finding("torch", "ok", "2.0"), Finding("video", "missing", "no PyAV", "pip install av.")
    monkeypatch.setattr("eamfmeg_fast.doctor.examine", lambda: [good])
    said = eamfmeg("doctor", "--json")
    assert said.code == 0 and json.loads(said.out)[0]["name"] == "torch"
    monkeypatch.setattr("eamfmeg_fast.doctor.examine", lambda: [good, bad])
    said = eamfmeg("doctor")
    assert said.code == 3 and "pip install av." in said.out and said.err.count("\n") == 1 and "video" in said.err


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), 130), (RuntimeError("two\nlines"), 1), (MemoryError(), 1), (OSError(28, "No space"), 2)],
)
def test_the_boundary(eamfmeg: Eamfmeg, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int) -> None:
    def fail() -> list[Finding]:
        raise raised

    monkeypatch.setattr("eamfmeg_fast.doctor.examine", fail)
    said = eamfmeg("doctor")
    assert said.code == code and said.err.count("\n") == 1 and said.err.startswith("eamfmeg: error: ")
    if code != 130:
        assert "Traceback" in eamfmeg("doctor", "--debug").err


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["eamfmeg", "--version"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
