"""Bad input of every kind: exit code 2, one line that says what to do, nothing written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

Eamfmeg = Callable[..., Any]
HOSTILE: dict[str, Callable[[Path, Path], Path]] = {}


def hostile(make: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """Register a maker: (folder to write to, kit) -> path to hand over."""
    HOSTILE[make.__name__] = make
    return make


def _chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack(">I", size) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, idat: bytes = b"", length: int | None = None) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", idat, length) + _chunk(b"IEND", b"")


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@hostile
def missing(at: Path, kit: Path) -> Path:
    return at / "nothing.mp4"


@hostile
def text_named_mp4(at: Path, kit: Path) -> Path:
    return _write(at / "text.mp4", b"hello world\n" * 50)


@hostile
def playlist_named_mp4(at: Path, kit: Path) -> Path:
    return _write(at / "list.mp4", f"ffconcat version 1.0\nfile {kit / 'clip.mp4'}\n".encode())


@hostile
def m3u_named_mp4(at: Path, kit: Path) -> Path:
    return _write(at / "list.mp4", f"#EXTM3U\n#EXTINF:1,\n{kit / 'clip.mp4'}\n".encode())


@hostile
def no_bytes(at: Path, kit: Path) -> Path:
    return _write(at / "empty.mp4", b"")


@hostile
def no_frames(at: Path, kit: Path) -> Path:
    import av

    with av.open(str(at / "none.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
    return at / "none.mp4"


@hostile
def header_cut(at: Path, kit: Path) -> Path:
    return _write(at / "cut.mp4", (kit / "clip.mp4").read_bytes()[:30])


@hostile
def cut_in_the_middle(at: Path, kit: Path) -> Path:
    whole = (kit / "clip.mp4").read_bytes()
    return _write(at / "half.mp4", whole[: len(whole) // 2])


@hostile
def vast_png(at: Path, kit: Path) -> Path:
    return _write(at / "vast.png", _png(60000, 60000, zlib.compress(b"\0" * 1000)))


@hostile
def png_with_a_chunk_of_2_gb(at: Path, kit: Path) -> Path:
    return _write(at / "chunk.png", _png(64, 64, b"", 0x7FFFFFFF))


@hostile
def one_pixel(at: Path, kit: Path) -> Path:
    Image.new("RGB", (1, 1)).save(at / "one.png")
    return at / "one.png"


@hostile
def pipe(at: Path, kit: Path) -> Path:
    os.mkfifo(at / "pipe.mp4")
    return at / "pipe.mp4"


@hostile
def device(at: Path, kit: Path) -> Path:
    return Path("/dev/zero")


@hostile
def empty_folder(at: Path, kit: Path) -> Path:
    (at / "empty").mkdir()
    return at / "empty"


@hostile
def folder_with_a_gap(at: Path, kit: Path) -> Path:
    (at / "gap").mkdir()
    for number in (1, 2, 4):
        (at / "gap" / f"img{number}.png").write_bytes((kit / "face.png").read_bytes())
    return at / "gap"


@hostile
def no_face(at: Path, kit: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(at / "noise.png")
    return at / "noise.png"


@hostile
def motion_that_is_weights(at: Path, kit: Path) -> Path:
    return _write(at / "m.safetensors", (kit / "small.safetensors").read_bytes())


@hostile
def name_with_control_characters(at: Path, kit: Path) -> Path:
    return at / "a\nb\x1b[31m.mp4"


def check(said: Any, out: Path, code: int = 2) -> None:
    assert said.code == code, (said.code, said.err)
    assert said.err.startswith("eamfmeg: error: ") and said.err.count("\n") == 1 and said.err.endswith("\n")
    assert said.err[:-1].isprintable() and "Traceback" not in said.err and len(said.err) < 600
    assert said.out == "" and not os.listdir(out)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder for inputs and one for outputs."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("role", ["target", "driving"])
def test_inputs(eamfmeg: Eamfmeg, kit: Path, quick: list[str], places: tuple[Path, Path], kind: str, role: str) -> None:
    at, out = places
    bad = HOSTILE[kind](at, kit)
    if role == "target" and kind == "folder_with_a_gap":
        pytest.skip("a folder of pictures is a fine set of targets, gaps or not")
    pair = (bad, kit / "clip.mp4") if role == "target" else (kit / "face.png", bad)
    said = eamfmeg("retarget", *pair, "-o", out / "x.mp4", *quick, "--save-motion", out / "m.safetensors")
    check(said, out)


def _nan(at: Path, kit: Path) -> Path:
    arrays = safetensors.torch.load_file(kit / "small.safetensors")
    arrays[next(name for name in arrays if name.endswith("weight"))].view(-1)[0] = float("nan")
    with safetensors.safe_open(kit / "small.safetensors", "pt") as file:
        said = file.metadata()
    safetensors.torch.save_file(arrays, at / "nan.safetensors", said)
    return at / "nan.safetensors"


def _pth(at: Path, kit: Path) -> Path:
    torch.save({"generator": {"a": torch.zeros(2)}}, at / "vox.pth.tar")
    return at / "vox.pth.tar"


WEIGHTS = {
    "NaN": _nan,
    "checkpoint": _pth,
    "missing": lambda at, kit: at / "none.safetensors",
    "unknown name": lambda at, kit: Path("huge"),
    "picture": lambda at, kit: kit / "face.png",
    "cut": lambda at, kit: _write(at / "c.safetensors", (kit / "small.safetensors").read_bytes()[:5000]),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(eamfmeg: Eamfmeg, kit: Path, places: tuple[Path, Path], kind: str) -> None:
    at, out = places
    given = WEIGHTS[kind](at, kit)
    said = eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", "-o", out / "x.mp4", "--weights", given)
    check(said, out)
    if kind == "checkpoint":
        assert "eamfmeg convert" in said.err


OPTIONS = [
    ["--gain", "nan"], ["--gain", "-1"], ["--gain", "much"], ["--motion", "sideways"], ["--crop", "face"],
    ["--crop", "0,0,9999,10"], ["--crop-driving", "0,0,9999,10"], ["--crop", "1,2,3"], ["--on-lost", "panic"],
    ["--start", "soon"], ["--start", "-3"], ["--start", "5", "--end", "2"], ["--start", "99"], ["--end", "0"],
    ["--reference-frame", "best"], ["--reference-frame", "99"], ["--crf", "99"], ["--threads", "0"],
    ["--device", "tpu"], ["--precision", "fp3"], ["--format", "avi"], ["--lossles"], ["--wieghts", "small"],
    ["--crop"], ["third"], ["--save-motion", "m.npz"],
]  # fmt: skip


@pytest.mark.parametrize("args", OPTIONS, ids=" ".join)
def test_options(eamfmeg: Eamfmeg, kit: Path, quick: list[str], places: tuple[Path, Path], args: list[str]) -> None:
    out = places[1]
    check(eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", "-o", out / "x.mp4", *quick, *args), out)


def test_an_empty_folder_is_called_empty(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    said = eamfmeg("retarget", kit / "face.png", tmp_path / "void", "-o", tmp_path / "x.mp4", *quick)
    assert said.code == 2 and "void holds no clips" in said.err


def test_a_reference_frame_that_is_missing(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    args = ["-o", tmp_path / "x.mp4", "--reference-frame", "99", *quick]
    said = eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", *args)
    assert said.code == 2 and ".;" not in said.err and "reference frame 99" in said.err


@pytest.mark.parametrize("name", ["no/folder/x.mp4", "x.avi", "x.mp4/", "/dev/null", ""])
def test_outputs(eamfmeg: Eamfmeg, kit: Path, quick: list[str], places: tuple[Path, Path], name: str) -> None:
    out = places[1]
    place = f"{out}/{name}" if not name.startswith("/") and name else name
    (places[0] / "x.mp4").write_text("in the way")
    if name == "x.mp4/":
        place = f"{places[0]}/x.mp4/"
    check(eamfmeg("retarget", kit / "face.png", kit / "clip.mp4", "-o", place, *quick), out)


def test_an_input_is_no_output(eamfmeg: Eamfmeg, kit: Path, quick: list[str], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes((kit / "clip.mp4").read_bytes())
    before = clip.read_bytes()
    said = eamfmeg("retarget", kit / "face.png", clip, "-o", clip, "--overwrite", *quick)
    assert said.code == 2 and clip.read_bytes() == before and os.listdir(tmp_path) == ["clip.mp4"]
    said = eamfmeg("retarget", kit / "face.png", clip, "-o", clip, *quick)
    assert said.code == 2 and "exists" in said.err


@pytest.mark.parametrize(
    "args", [["retarget"], ["retrget"], ["retarget", "a", "b"], ["retarget", "-o", "x"], ["convert", "a"], ["--no"],
             ["inspect", "nothing"], ["convert", "nothing", "x.safetensors"], ["synth", "no/where"],
             ["synth", "s", "--emotion", "bored"], ["synth", "s", "--action-units", "x"],
             ["synth", "s", "--action-units", "99"], ["synth", "s", "--clips", "0"], ["synth", "s", "--size", "9"],
             ["synth", "s", "--fps", "0"], ["train", "t", "--threads", "-1"], ["train", "t", "--shorten", "0"],
             ["retarget", "--pairs", "none.csv", "-o", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_other_commands(eamfmeg: Eamfmeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    check(eamfmeg(*args), tmp_path)


def test_a_real_process_says_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "eamfmeg_fast", "retarget", "a.png", "b.mp4", "-o", "x.mp4", "--weigths", "small"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == "" and not os.listdir(tmp_path)
    assert done.stderr.startswith("eamfmeg: error: ") and "--weights" in done.stderr and done.stderr.count("\n") == 1
