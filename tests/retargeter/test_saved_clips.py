"""What a clip leaves on disk: pictures, times, marks and motion, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import EamfmegError, InputError, OptionError
from eamfmeg_fast.media import open_clip, open_writer, probe
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.provenance import read_mark, sha256_of, verify
from eamfmeg_fast.retargeter import Retargeter

SIZE = 128
FolderOf = Callable[..., Path]


def test_saved_mp4(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path) -> None:
    Image.fromarray(target).save(tmp_path / "face.png")
    driving = tmp_path / "driving.mp4"
    with open_writer(driving, fps=Fraction(30000, 1001), size=(SIZE, SIZE), lossless=True) as writer:
        for number in (0, 1, 3, 4):
            writer.write(frames[number % 4], Fraction(number * 1001, 30000))
    clip = fresh(tmp_path / "face.png", driving)
    seen: list[int] = []
    report = clip.save(tmp_path / "out.mp4", lossless=True, on_frame=lambda frame: seen.append(frame.index))
    assert seen == [0, 1, 2, 3] and report.frames == 4 and report is clip.report
    with open_clip(tmp_path / "out.mp4") as result:
        kept = list(result)
    late = [frame.time - Fraction(n * 1001, 30000) for frame, n in zip(kept, (0, 1, 3, 4), strict=True)]
    assert max(map(abs, late)) <= Fraction(1, 90000)
    assert all((a.image == b.image).all() for a, b in zip(kept, clip, strict=True))
    assert verify(tmp_path / "out.mp4").ok
    mark = read_mark(tmp_path / "out.mp4")
    assert mark is not None and mark.target_sha256 == sha256_of(tmp_path / "face.png")
    assert mark.driving_sha256 == sha256_of(driving) and mark.weights_sha256 == fresh.weights_sha256
    assert mark.options["gain"] == 1.0 and mark.options["reference_frame"] == 0
    assert sorted(os.listdir(tmp_path)) == ["driving.mp4", "face.png", "out.mp4", "out.mp4.json"]


def test_saved_folder_keeps_numbers_and_rate(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    driving = folder_of(tmp_path / "clip", frames, fps=200, origin=46)
    fresh(target, driving, start=1, end=3).save(tmp_path / "out")
    assert {"frame_000047.png", "frame_000048.png", "clip.json", "manifest.json"} == set(os.listdir(tmp_path / "out"))
    assert probe(tmp_path / "out").fps == 200 and probe(tmp_path / "out").origin == 47
    assert verify(tmp_path / "out").ok


def test_side_by_side(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path) -> None:
    fresh(target, frames[:2]).save(tmp_path / "out", side_by_side=True)
    with open_clip(tmp_path / "out") as clip:
        panels = next(iter(clip)).image
    assert panels.shape == (SIZE, 3 * SIZE, 3)
    assert (panels[:, :SIZE] == target).all() and (panels[:, SIZE : 2 * SIZE] == frames[0]).all()


def test_what_exists_is_kept_unless_told(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    for name in ("out.mp4", "new.mp4.json", "m.safetensors"):
        (tmp_path / name).write_text("mine")
    clip = fresh(target, frames[:1])
    for path, motion in (("out.mp4", None), ("new.mp4", None), ("else.mp4", tmp_path / "m.safetensors")):
        with pytest.raises(OptionError, match="exists"):
            clip.save(tmp_path / path, save_motion=motion)
    assert {(tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {"mine"}
    clip.save(tmp_path / "out.mp4", overwrite=True)
    assert verify(tmp_path / "out.mp4").ok


def test_outputs_are_never_inputs(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    driving = folder_of(tmp_path / "clip", frames)
    for path in (driving, tmp_path):
        with pytest.raises(EamfmegError):
            fresh(target, driving).save(path, overwrite=True)
    assert len(os.listdir(driving)) == 4


def test_a_failure_half_way_leaves_nothing(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh(target, broken()).save(tmp_path / "out.mp4", save_motion=tmp_path / "m.safetensors")
    bad = folder_of(tmp_path / "clip", frames)
    (bad / "img2.png").write_bytes((bad / "img2.png").read_bytes()[:500])
    with pytest.raises(EamfmegError):
        fresh(target, bad).save(tmp_path / "out")
    assert os.listdir(tmp_path) == ["clip"]


def test_a_motion_file_draws_the_same(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    clip = fresh(target, iter(frames), fps=200)
    clip.save(tmp_path / "out", save_motion=path)
    again = fresh(target, path)
    assert again.fps == 200
    for one, two in zip(fresh(target, frames, fps=200), again, strict=True):
        assert (one.image == two.image).all() and (one.index, one.time) == (two.index, two.time)
    moved = fresh(target, path, reference_frame=2)
    pairs = zip(fresh(target, frames, reference_frame=2), moved, strict=True)
    assert all((one.image == two.image).all() for one, two in pairs)
    with pytest.raises(OptionError):
        fresh(target, path, start=1)
    with pytest.raises(OptionError, match="reference frame 9"):
        list(fresh(target, path, reference_frame=9))


def test_a_saved_clip_of_a_file_is_drawn_the_same_and_told_the_same(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    """Its neutral face is a mean, which the motion file holds, and says what it is of."""
    clip = fresh(target, folder_of(tmp_path / "clip", [*frames[:1] * 4, *frames[1:3]], fps=40))
    path = tmp_path / "m.safetensors"
    told = clip.save(tmp_path / "out", save_motion=path).options
    again = fresh(target, path)
    for one, two in zip(clip, again, strict=True):
        assert (one.image == two.image).all()
    assert again.report is not None
    assert again.report.options["reference_frame"] == told["reference_frame"] == "steadied 0-3"
    assert "smoothing_cutoff_hz" not in told and told["smoothing"] == "none"


def test_a_motion_file_of_other_weights_is_refused(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    fresh(target, frames[:1]).save(tmp_path / "out", save_motion=path)
    other = Retargeter(fill_seeded(build_network(replace(PRESETS["small"], size=SIZE)), salt="other"))
    with pytest.raises(InputError, match="other weights"):
        other(target, path)
