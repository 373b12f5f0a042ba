"""Marks, hashes and manifests: written, found again, and seen to notice every change."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media import open_writer
from eamfmeg_fast.provenance import Mark, manifest_path, plain, read_mark, sha256_of, verify, write_manifest

MARK = Mark("a" * 64, "b" * 64, "c" * 64, {"gain": 2.0, "motion": "relative", "crf": 12, "note": "é"})
NAMES = ["v.mp4", "v.gif", "frames"]


def output(path: Path, mark: Mark | None = MARK) -> Path:
    with open_writer(path, fps=25, size=(16, 16), mark=mark) as writer:
        for number in range(3):
            writer.write(np.full((16, 16, 3), number * 40, np.uint8))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_mark_comes_back(tmp_path: Path, name: str) -> None:
    assert read_mark(output(tmp_path / name)) == MARK


def test_mark_as_json() -> None:
    fields = json.loads(MARK.to_json())
    assert fields["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert MARK.to_json().isascii() and "\n" not in MARK.to_json()
    assert Mark.from_json(MARK.to_json()) == MARK
    assert Mark.from_json(json.dumps({**fields, "later": 1})) == MARK


@pytest.mark.parametrize("text", ["", "[]", "{", '{"options": 3}', '{"software": null}', "[" * 100_000])
def test_damaged_mark(text: str) -> None:
    with pytest.raises(MediaError, match="mark"):
        Mark.from_json(text)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(MediaError):
        sha256_of(tmp_path / "missing")


def test_sha256_of_a_folder_sees_every_change(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"ab")
    (folder / "2.png").write_bytes(b"c")
    first = sha256_of(folder)
    (folder / "manifest.json").write_text("{}")
    (folder / ".hidden").write_text("{}")
    assert sha256_of(folder) == first
    seen = {first}

    def changed() -> None:
        seen.add(sha256_of(folder))

    (folder / "1.png").write_bytes(b"a")
    (folder / "2.png").write_bytes(b"bc")
    changed()
    (folder / "1.png").rename(folder / "3.png")
    changed()
    (folder / "4.png").touch()
    changed()
    (folder / "sub").mkdir()
    (folder / "sub" / "manifest.json").write_text("{}")
    changed()
    assert len(seen) == 5
    os.mkfifo(folder / "5.png")
    with pytest.raises(MediaError, match="pipe"):
        sha256_of(folder)


@pytest.mark.parametrize("name", NAMES)
def test_verify_accepts_what_was_written(tmp_path: Path, name: str) -> None:
    path = output(tmp_path / name)
    report = {
        "frames": 3,
        "psnr": float("nan"),
        "fps": Fraction(25),
        "times": (np.float32(0.5), np.int64(2)),
        "at": path,
    }
    place = write_manifest(path, MARK, report)
    assert place == manifest_path(path) == (path / "manifest.json" if name == "frames" else tmp_path / f"{name}.json")
    found = verify(path)
    assert found.ok and found.problems == () and found.mark == MARK
    assert found.manifest is not None
    assert found.manifest["output"] == name and found.manifest["output_sha256"] == sha256_of(path)
    assert found.manifest["mark"]["driving_sha256"] == "b" * 64
    assert found.manifest["report"] == {"frames": 3, "psnr": None, "fps": "25", "times": [0.5, 2], "at": str(path)}
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", NAMES)
def test_verify_notices_changes(tmp_path: Path, name: str) -> None:
    path = output(tmp_path / name)
    assert "does not exist" in verify(path).problems[0]
    place = write_manifest(path, MARK)
    changed = path / "frame_000001.png" if name == "frames" else path
    data = changed.read_bytes()
    at = len(data) // 2 if name == "frames" else data.rfind(b"end=") if name == "v.mp4" else len(data) - 4
    changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert any("not the file" in problem for problem in verify(path).problems)
    changed.write_bytes(data)
    assert verify(path).ok
    manifest = json.loads(place.read_text())
    manifest["mark"]["target_sha256"] = "d" * 64
    place.write_text(json.dumps(manifest))
    assert any("not the one" in problem for problem in verify(path).problems)
    for text in ("[]", "{", "{}"):
        place.write_text(text)
        assert not verify(path).ok


def test_verify_notices_a_missing_mark(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 16
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    write_manifest(tmp_path / "v.mp4", MARK)
    found = verify(tmp_path / "v.mp4")
    assert not found.ok and found.problems == (f"{tmp_path / 'v.mp4'} carries no mark",)


def test_plain() -> None:
    assert plain({1: (float("inf"), True, None, Path("a"))}) == {"1": [None, True, None, "a"]}
