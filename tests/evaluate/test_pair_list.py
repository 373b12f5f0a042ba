"""Pairs by name and from lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.evaluate.pair_list import Pair, every_pair, read_pairs


def test_every_clip_on_every_target() -> None:
    a, b, t, u = (Path(name) for name in ("a.gif", "b.gif", "t.png", "u.png"))
    assert every_pair([a, b], [t, u], []) == [Pair(a, t), Pair(b, t), Pair(a, u), Pair(b, u)]
    assert every_pair([a], [t], [b]) == [Pair(a, t, b)] and Pair(a, t).name == "t__a"
    for drivings, targets, outputs in (([], [t], []), ([a], [], []), ([a, b], [t], [b])):
        with pytest.raises(OptionError):
            every_pair(drivings, targets, outputs)


def test_lists_say_the_same_in_both_kinds(tmp_path: Path) -> None:
    rows = [{"driving": "a.gif", "target": "t.png", "output": "x/o.mp4"}, {"driving": "b.gif", "target": "t.png"}]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    (tmp_path / "p.csv").write_text("Target, driving ,output\nt.png,a.gif,x/o.mp4\n\nt.png,b.gif,\n")
    wanted = [Pair(tmp_path / "a.gif", tmp_path / "t.png", tmp_path / "x/o.mp4"),
              Pair(tmp_path / "b.gif", tmp_path / "t.png")]  # fmt: skip
    assert read_pairs(tmp_path / "p.json") == read_pairs(tmp_path / "p.csv") == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", ""),
        ("p.csv", "driving,target\n"),
        ("p.csv", "clip,face\na,b\n"),
        ("p.csv", "driving,target\na.gif,\n"),
        ("p.json", "{}"),
        ("p.json", "[1]"),
        ("p.json", '[{"driving": 1, "target": "t"}]'),
    ],
)
def test_a_list_that_means_nothing_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(OptionError):
        read_pairs(tmp_path / name)


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[")
    (tmp_path / "p.csv").write_bytes(b"driving,target\n\xff\n")
    for name in ("p.json", "p.csv", "none.csv"):
        with pytest.raises(MediaError):
            read_pairs(tmp_path / name)
