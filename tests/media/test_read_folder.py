"""Folders of frames: order, gaps, rates."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.media import open_clip, probe
from eamfmeg_fast.media.folder import frame_paths


def fill(folder: Path, names: list[str], size: tuple[int, int] = (10, 8)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 10, 0, 0)).save(folder / name)
    return folder


def test_order_by_the_last_number(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", ["s9_reg_img11.png", "s10_reg_img9.PNG", "s1_reg_img10.bmp"])
    paths, first = frame_paths(folder)
    assert [path.name for path in paths] == ["s10_reg_img9.PNG", "s1_reg_img10.bmp", "s9_reg_img11.png"]
    assert first == 9
    info = probe(folder)
    assert (info.kind, info.width, info.height, info.frame_count, info.origin) == ("folder", 10, 8, 3, 9)
    assert info.fps is None and info.duration_s is None


def test_other_files_do_not_count(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", ["img1.png", "img2.png"])
    (folder / "notes.txt").write_text("7")
    (folder / ".img9.png").write_text("")
    (folder / "manifest.json").write_text("{}")
    assert probe(folder).frame_count == 2


def test_clip_json_gives_rate_and_origin(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "clip.json").write_text(json.dumps({"fps": "30000/1001", "origin": 46}))
    with open_clip(folder) as clip:
        frames = list(clip)
    assert clip.info.fps == Fraction(30000, 1001) and clip.info.origin == 46
    assert [frame.time for frame in frames] == [Fraction(1001 * number, 30000) for number in range(3)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 10, 20]


def test_times_in_clip_json(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "clip.json").write_text(json.dumps({"fps": 25, "times": ["0", "1/25", "0.5"]}))
    with open_clip(folder) as clip:
        assert [frame.time for frame in clip] == [0, Fraction(1, 25), Fraction(1, 2)]
    assert clip.info.variable_rate


@pytest.mark.parametrize(
    "notes",
    [
        "{",
        "[1]",
        '{"fps": 0}',
        '{"fps": "1e999999999"}',
        '{"fps": true}',
        '{"fps": NaN}',
        '{"fps": -5}',
        '{"times": ["0"]}',
        '{"times": ["1", "0", "2"]}',
        '{"times": ["0", "x", "2"]}',
        "[" * 100_000,
    ],
)
def test_senseless_clip_json_is_refused(tmp_path: Path, make, notes: str) -> None:
    folder = fill(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "clip.json").write_text(notes)
    make.refused(folder, tmp_path, "clip.json")


def test_gap_names_the_missing_number(tmp_path: Path, make) -> None:
    folder = fill(tmp_path / "f", ["img98.png", "img99.png", "img101.png"])
    make.refused(folder, tmp_path, "frame 100 is missing")


def test_number_twice_is_refused(tmp_path: Path, make) -> None:
    folder = fill(tmp_path / "f", ["img1.png", "img01.png"])
    make.refused(folder, tmp_path, "frame 1 is twice")


def test_name_without_number_is_refused(tmp_path: Path, make) -> None:
    make.refused(fill(tmp_path / "f", ["img1.png", "face.png"]), tmp_path, "face.png")


def test_empty_folder_is_refused(tmp_path: Path, make) -> None:
    make.refused(fill(tmp_path / "f", []), tmp_path, "holds no frame")


def test_mixed_sizes_are_refused(tmp_path: Path, make) -> None:
    folder = fill(tmp_path / "f", ["1.png", "2.png"])
    fill(folder, ["3.png"], (12, 8))
    make.refused(folder, tmp_path, "12x8; expected 10x8")


def test_a_damaged_frame_in_the_middle_is_refused(tmp_path: Path, make) -> None:
    folder = fill(tmp_path / "f", ["1.png", "2.png", "3.png"])
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[:-20])
    make.refused(folder, tmp_path, "2.png")


@pytest.mark.parametrize("name", ["2.png", "clip.json"])
def test_a_pipe_in_the_folder_is_refused(tmp_path: Path, make, name: str) -> None:
    folder = fill(tmp_path / "f", ["1.png"])
    os.mkfifo(folder / name)
    make.refused(folder, tmp_path, "pipe")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (2, None, [2, 3, 4, 5]),
        (None, 2, [0, 1]),
        ("1", "3", [1, 2]),
        ("0.2s", "0.4s", [2, 3]),
        ("1/10 s", 3, [1, 2]),
        (4, 100, [4, 5]),
    ],
)
def test_span(tmp_path: Path, start: int | str | None, end: int | str | None, expected: list[int]) -> None:
    folder = fill(tmp_path / "f", [f"{number}.png" for number in range(7, 13)])
    (folder / "clip.json").write_text('{"fps": 10}')
    with open_clip(folder, start=start, end=end) as clip:
        assert [frame.index for frame in clip] == expected
        assert [frame.index for frame in clip] == expected
    assert clip.info.frame_count == 6


@pytest.mark.parametrize(
    ("start", "end"), [(-1, None), (3, 3), ("x", None), (1.5, None), ("5s", "2s"), (None, 0), (True, 3)]
)
def test_senseless_span(tmp_path: Path, start: int | str | None, end: int | str | None) -> None:
    folder = fill(tmp_path / "f", ["1.png"])
    with pytest.raises(OptionError):
        open_clip(folder, start=start, end=end)


def test_span_behind_the_end(tmp_path: Path) -> None:
    with (
        open_clip(fill(tmp_path / "f", ["1.png"]), start=5) as clip,
        pytest.raises(MediaError, match="no frame in the span"),
    ):
        list(clip)
