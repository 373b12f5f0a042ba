"""Tables of pairs, folders with folders, and failures kept apart."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.provenance import verify
from eamfmeg_fast.retargeter import Retargeter
from eamfmeg_fast.retargeter.batch import (
    Job,
    find_clips,
    find_pictures,
    holds_pictures,
    jobs_from_folders,
    jobs_from_pairs,
    run_jobs,
)


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(small).resize((128, 128)).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """targets/{a.png,b.jpg,more/c.png} and clips/{sub01/EP01/1.png..2.png, one.mp4, notes.txt, .hidden.mp4}."""
    for number, name in enumerate(("targets/a.png", "targets/b.jpg", "targets/more/c.png", "clips/sub01/EP01/1.png")):
        picture(tmp_path / name, number)
    picture(tmp_path / "clips/sub01/EP01/2.png", 7)
    for name in ("one.mp4", "notes.txt", ".hidden.mp4"):
        (tmp_path / "clips" / name).write_bytes(b"no video")
    return tmp_path


def test_what_is_found(tree: Path) -> None:
    assert [p.relative_to(tree).as_posix() for p in find_pictures(tree / "targets")] == [
        "targets/a.png", "targets/b.jpg", "targets/more/c.png",
    ]  # fmt: skip
    assert [p.relative_to(tree).as_posix() for p in find_clips(tree / "clips")] == ["clips/one.mp4", "clips/sub01/EP01"]
    assert holds_pictures(tree / "targets") and not holds_pictures(tree / "clips")


def test_each_target_with_each_clip(tree: Path) -> None:
    jobs = jobs_from_folders(tree / "targets", tree / "clips", tree / "out", ".mp4")
    assert [job.output.name for job in jobs] == [
        f"{target}__{clip}.mp4" for target in ("a", "b", "more_c") for clip in ("one", "sub01_EP01")
    ]
    assert [job.output.name for job in jobs_from_folders(tree / "targets/a.png", tree / "clips", tree, "")] == [
        "a__one", "a__sub01_EP01",
    ]  # fmt: skip
    whole = jobs_from_folders(tree / "targets", tree / "clips/sub01/EP01", tree, ".gif")
    assert len(whole) == 3 and whole[0].driving.name == "EP01"


def test_like_names_are_told_apart(tree: Path) -> None:
    picture(tree / "targets/a.jpg")
    jobs = jobs_from_folders(tree / "targets", tree / "clips", tree / "out", ".mp4")
    assert len({job.output for job in jobs}) == len(jobs) == 8
    assert {"a_png__one.mp4", "a_jpg__one.mp4"} <= {job.output.name for job in jobs}


def test_safetensors_of_another_kind_are_no_clips(tree: Path) -> None:
    save_file({"x": np.zeros(1, np.float32)}, tree / "clips/truth.safetensors", {"format": "eamfmeg_fast.lab"})
    (tree / "clips/damaged.safetensors").write_bytes(b"damaged")
    names = [path.name for path in find_clips(tree / "clips")]
    assert "damaged.safetensors" in names and "truth.safetensors" not in names


def test_folders_with_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.gif").touch()
    for targets, clips in (("empty", "clip.gif"), ("clip.gif", "empty")):
        with pytest.raises(MediaError, match="holds no"):
            jobs_from_folders(tmp_path / targets, tmp_path / clips, tmp_path, ".mp4")
    for targets, clips in (("empty", "gone"), ("gone", "clip.gif")):
        with pytest.raises(MediaError, match="gone does not exist"):
            jobs_from_folders(tmp_path / targets, tmp_path / clips, tmp_path, ".mp4")


def table(folder: Path, text: str) -> Path:
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"


def test_a_table_of_pairs(tree: Path) -> None:
    jobs = jobs_from_pairs(
        table(tree, "\ufefftarget,driving,output\ntargets/a.png,clips/one.mp4,\n\ntargets/b,clips/sub01/EP01, x/y.gif"),
        tree / "out", ".mp4",
    )  # fmt: skip
    assert jobs == [
        Job(tree / "targets/a.png", tree / "clips/one.mp4", tree / "out/a__one.mp4"),
        Job(tree / "targets/b.jpg", tree / "clips/sub01/EP01", tree / "out/x/y.gif"),
    ]


def test_the_columns_of_older_tables(tree: Path) -> None:
    text = "distance,source,driving,frame\n0.1,a,one,3\n0.2,more/c.png,sub01/EP01,\n"
    jobs = jobs_from_pairs(table(tree, text), tree / "out", ".mp4", targets=tree / "targets", drivings=tree / "clips")
    assert [job.target.name for job in jobs] == ["a.png", "c.png"]
    assert [job.options for job in jobs] == [{"reference_frame": 3}, {}]


def test_pairs_with_like_names_are_numbered(tree: Path) -> None:
    text = "target,driving\n" + "targets/a.png,clips/one.mp4\n" * 2
    names = [job.output.name for job in jobs_from_pairs(table(tree, text), tree, ".mp4")]
    assert names == ["a__one__1.mp4", "a__one__2.mp4"]


@pytest.mark.parametrize(
    "text",
    ["", "target\na\n", "target,driving\n", "target,driving\na,\n", "picture,driving\na,b\n", 'target,driving\n"a,b\n',
     "target,driving,output\na,b,../c.mp4\n", "target,driving,output\na,b,/tmp/c.mp4\n",
     "source,driving,frame\na,b,-1\n",
     "target,driving,output\na,b,c.mp4\na,b,c.mp4\n", "target,driving,output\na,b,\na,b,a__b__2.mp4\na,b,\n"],
)  # fmt: skip
def test_tables_that_mean_nothing_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises((OptionError, MediaError)) as refused:
        jobs_from_pairs(table(tmp_path, text), tmp_path, ".mp4")
    assert "pairs.csv" in str(refused.value)


def test_tables_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    for data in (b"\xff\xfe\x00\x01", b"target,driving\na\x00b,c\n", b"x" * (9 << 20)):
        path.write_bytes(data)
        with pytest.raises((OptionError, MediaError)):
            jobs_from_pairs(path, tmp_path, ".mp4")


def test_one_failure_does_not_stop_the_others(tree: Path) -> None:
    retargeter = Retargeter(fill_seeded(build_network(replace(PRESETS["small"], size=128))))
    opened: list[Path] = []
    open_target = retargeter.open_target
    retargeter.open_target = lambda path, crop: (opened.append(path), open_target(path, crop))[1]  # type: ignore
    jobs = jobs_from_folders(tree / "targets", tree / "clips", tree / "out", "")[:4]
    results = list(run_jobs(retargeter, jobs, call={"crop": "none"}))
    assert [result.error is None for result in results] == [False, True, False, True]
    assert "one.mp4" in str(results[0].error) and results[1].to_dict()["frames"] == 2
    assert [path.name for path in opened] == ["a.png", "b.jpg"]
    assert sorted(os.listdir(tree / "out")) == ["a__sub01_EP01", "b__sub01_EP01"]
    assert verify(tree / "out/a__sub01_EP01").ok
    again = list(run_jobs(retargeter, jobs[1:2], call={"crop": "none"}))
    assert again[0].error is not None and again[0].to_dict()["output"].endswith("a__sub01_EP01")
