"""Motion files: exact round trips, and hostile ones refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import EamfmegError, MediaError
from eamfmeg_fast.motion_file import MotionFacts, MotionFile, MotionRow, MotionWriter

COUNT = PRESETS["small"].num_kp
FACTS = MotionFacts("small", "ab" * 32, Fraction(30000, 1001), "cd" * 32, 46, 2)


def rows(count: int, seed: int = 0) -> list[MotionRow]:
    rng = np.random.default_rng(seed)
    kp = rng.uniform(-1, 1, (count, COUNT, 2)).astype(np.float32)
    jacobian = (np.eye(2) + 0.1 * rng.standard_normal((count, COUNT, 2, 2))).astype(np.float32)
    return [MotionRow(2 + 3 * t, Fraction(t * t + t, 90000), kp[t], jacobian[t]) for t in range(count)]


def saved(path: Path, count: int = 5) -> list[MotionRow]:
    given = rows(count)
    with MotionWriter(path, FACTS, (given[0].kp, given[0].jacobian)) as writer:
        for row in given:
            writer.write(row)
    return given


@pytest.mark.parametrize("count", [1, 7, 4096, 5000])
def test_what_was_written_comes_back(tmp_path: Path, count: int) -> None:
    path = tmp_path / "m.safetensors"
    given = saved(path, count)
    motion = MotionFile(path)
    assert motion.facts == FACTS and len(motion) == count
    assert (motion.initial[0] == given[0].kp).all() and (motion.initial[1] == given[0].jacobian).all()
    for _ in range(2):
        found = list(motion)
        assert [row.time for row in found] == [row.time for row in given]
        assert [row.index for row in found] == [row.index for row in given]
        assert all((a.kp == b.kp).all() and (a.jacobian == b.jacobian).all() for a, b in zip(found, given))
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_the_format_is_plain_safetensors(tmp_path: Path) -> None:
    given = saved(tmp_path / "m.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    assert (arrays["kp"] == np.stack([row.kp for row in given])).all()
    assert arrays["time"].tolist() == [list(row.time.as_integer_ratio()) for row in given]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    row = rows(1)[0]
    with pytest.raises(RuntimeError), MotionWriter(tmp_path / "m.safetensors", FACTS, (row.kp, row.jacobian)) as writer:
        writer.write(row)
        raise RuntimeError
    assert not os.listdir(tmp_path)


def test_places_that_cannot_be_are_refused(tmp_path: Path) -> None:
    row = rows(1)[0]
    for name in ("m.npz", "missing/m.safetensors"):
        with pytest.raises(MediaError):
            MotionWriter(tmp_path / name, FACTS, (row.kp, row.jacobian))


def change(name: str, edit: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any], dict[str, str]], None]:
    def apply(arrays: dict[str, Any], said: dict[str, str]) -> None:
        arrays[name] = np.asarray(edit(arrays[name].copy()))

    return apply


def say(name: str, value: str) -> Callable[[dict[str, Any], dict[str, str]], None]:
    def apply(arrays: dict[str, Any], said: dict[str, str]) -> None:
        said[name] = value

    return apply


def put(index: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return edit


TAMPERED = {
    "NaN": change("kp", put((3, 2, 0), np.nan)),
    "infinite": change("jacobian", put((4, 9, 1, 1), -np.inf)),
    "far away": change("kp", put((0, 0, 0), 1e6)),
    "NaN at rest": change("initial_kp", put((0, 0), np.nan)),
    "singular at rest": change("initial_jacobian", put(slice(None), 0.0)),
    "time stands still": change("time", put((2, 0), 0)),
    "no denominator": change("time", put((2, 1), 0)),
    "negative denominator": change("time", put((2, 1), -1)),
    "frames go back": change("index", put(3, 1)),
    "other type": change("kp", lambda a: a.astype(np.float64)),
    "fewer keypoints": change("kp", lambda a: a[:, :9]),
    "fewer frames": change("jacobian", lambda a: a[:3]),
    "flat": change("kp", lambda a: a.reshape(-1)),
    "tensor missing": lambda arrays, said: arrays.pop("index"),
    "tensor more": lambda arrays, said: arrays.update(more=np.zeros(3, np.float32)),
    "no frames": lambda arrays, said: arrays.update({n: arrays[n][:0] for n in ("kp", "jacobian", "time", "index")}),
    "format": say("format", "pickle"),
    "version": say("format_version", "2"),
    "preset": say("preset", "../../etc"),
    "rate": say("fps", "0"),
    "rate in words": say("fps", "fast"),
    "origin": say("origin", "-1"),
    "origin in other digits": say("origin", "\u0663"),
    "reference": say("reference", "9" * 30),
    "mean of nothing": say("averaged", "0"),
    "mean of too much": say("averaged", "9" * 30),
    "long hash": say("weights_sha256", "a" * 10_000),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampered_files_are_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "m.safetensors"
    saved(path)
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        said = dict(file.metadata())
    TAMPERED[how](arrays, said)
    safetensors.numpy.save_file(arrays, path, said)
    with pytest.raises(EamfmegError) as refused:
        MotionFile(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_untouched_copies_pass_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    saved(path)
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        said = dict(file.metadata())
    safetensors.numpy.save_file(arrays, path, said)
    assert len(MotionFile(path)) == 5


@pytest.mark.parametrize("keep", [0, 5, 100, 900, -1])
def test_cut_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MediaError):
        MotionFile(path)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = json.dumps({"kp": {"dtype": "F32", "shape": [1 << 30, 10, 2], "data_offsets": [0, 80 << 30]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(MediaError):
        MotionFile(path)
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(MediaError):
        MotionFile(path)


def test_random_damage_never_gets_through_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    saved(path, 2)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        bad = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bad)
        try:
            list(MotionFile(path))
        except EamfmegError:
            continue
