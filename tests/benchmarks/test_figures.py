"""The README's figures belong to the shipped weights, and the code that draws them does what it says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import failures
import figures
import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.lab import HELD_OUT_SEEDS
from eamfmeg_fast.provenance import Mark
from eamfmeg_fast.retargeter import Retargeter
from eamfmeg_fast.weights import StoredWeights

_AGAIN = "run `make figures`, look at what it draws, and commit it"


@pytest.fixture(scope="module")
def kept() -> dict:
    return json.loads((figures.RESULTS / figures.FACTS).read_text())


def _row(name: str, left: float) -> failures.Row:
    (failure,) = [failure for failure in failures.FAILURES if failure.name == name]
    pictures = tuple(np.full((256, 256, 3), 40 * k, np.uint8) for k in range(1, 6))
    return failures.Row(failure, pictures, (80, 90, 104), left)


def test_the_figures_are_of_the_shipped_weights(kept: dict) -> None:
    assert kept["weights"] == DEFAULT_WEIGHTS, _AGAIN
    assert kept["content_sha256"] == StoredWeights(kept["weights"]).info.content_sha256, _AGAIN


def test_the_figures_are_the_ones_that_were_drawn(kept: dict) -> None:
    assert set(kept["files"]) == {figures.SHEET, figures.FAILED, figures.MOTION}
    for name, sha256 in kept["files"].items():
        data = (figures.RESULTS / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, f"{name}: {_AGAIN}"
        assert len(data) <= figures.MOST_BYTES


def test_the_gallery_s_words_are_those_that_were_drawn(kept: dict) -> None:
    drawn = {name: (words["asked"], words["wrong"]) for name, words in kept["failures"].items()}
    assert drawn == {failure.name: (failure.asked, failure.wrong) for failure in failures.FAILURES}, _AGAIN
    assert any(words["left"] >= failures.FAILS_FROM for words in kept["failures"].values())


def test_the_readme_shows_them(root: Path, kept: dict) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(benchmarks/results/([\w.-]+)\)", (root / "README.md").read_text())
    assert set(kept["files"]) <= set(shown)


def test_every_case_is_of_held_out_people_and_has_words() -> None:
    names = [failure.name for failure in failures.FAILURES]
    assert len(set(names)) == len(names) >= 6
    for failure in failures.FAILURES:
        assert failure.asked.endswith(".") and failure.wrong.endswith(".") and failure.close in failures._CLOSE
        assert failure.units or any(failure.gaze) or any(failure.turn)
        assert max(failure.driver[0], failure.target[0]) < len(HELD_OUT_SEEDS) and failure.driver != failure.target


def test_the_gallery_has_a_line_of_pictures_for_each_row() -> None:
    one = failures.draw_gallery([_row("gaze", 1.2)])
    two = failures.draw_gallery([_row("gaze", 1.2), _row("teeth", 0.9)])
    assert one.width == two.width and two.height > one.height + failures._PANEL
    levels = np.asarray(one)[-60, [20 + k * (failures._PANEL + failures._GAP) for k in range(7)]]
    assert levels[:, 0].tolist() == [40, 80, 120, 160, 200, 160, 200]


@pytest.mark.slow
def test_a_row_measures_what_is_left_of_the_movement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that draws the truth leaves nothing, one that does nothing leaves all of it."""
    gaze = failures.FAILURES[1]
    target, truth, _ = failures._two_frames(gaze, gaze.target)
    retargeter = Retargeter.from_pretrained("small", device="cpu", precision="fp32")
    plain = failures.draw_row(retargeter, gaze)
    assert np.array_equal(plain.pictures[0], target) and np.array_equal(plain.pictures[4], truth)
    assert plain.left > 0 and plain.left != pytest.approx(1.0)
    halfway = ((truth.astype(int) + target) // 2).astype(np.uint8)
    for image, left in ((truth, 0.0), (target, 1.0), (halfway, 0.25)):

        def fixed(*given: object, image: np.ndarray = image, **more: object) -> object:
            return type("Drawn", (), {"image": image})()

        monkeypatch.setattr(retargeter.engine, "step", fixed)
        assert failures.draw_row(retargeter, gaze).left == pytest.approx(left, abs=0.01)


def test_rows_that_no_longer_fail_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([0.9, failures.FAILS_FROM - 0.01] + [0.1] * 20)
    monkeypatch.setattr(failures, "draw_row", lambda _, failure: _row(failure.name, next(left)))
    picture, rows = failures.gallery(None)
    assert len(rows) == len(failures.FAILURES)
    assert np.array_equal(np.asarray(picture), np.asarray(failures.draw_gallery(rows[:1])))


def test_a_jpeg_carries_the_mark(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    mark = Mark("", "", "w" * 64, {"made_by": "a test"})
    data = figures.jpeg(picture, mark)
    (tmp_path / "x.jpg").write_bytes(data)
    with Image.open(tmp_path / "x.jpg") as again:
        assert again.format == "JPEG" and again.mode == "RGB" and again.size == (4, 4)
        packet = again.info["xmp"].decode()
    assert "trainedAlgorithmicMedia" in packet and "w" * 64 in packet
    assert data == figures.jpeg(picture, mark)
