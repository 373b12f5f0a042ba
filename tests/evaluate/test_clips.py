"""Pairs of clip and target, drawn with seeded weights: what is scored is what is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.driving import DrivingOptions
from eamfmeg_fast.errors import InputError, MediaError, OptionError
from eamfmeg_fast.evaluate.clip_report import score_pairs, to_json, to_markdown, write_report
from eamfmeg_fast.evaluate.clips import ClipScore, WatchedDriving, mean_figures, score_output, score_pair
from eamfmeg_fast.evaluate.fidelity import Fidelity, motion_fidelity
from eamfmeg_fast.evaluate.pair_list import Pair
from eamfmeg_fast.faces import Crop
from eamfmeg_fast.media import open_clip, open_writer, read_picture
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.retargeter import Retargeter

GAIN = 20.0


@pytest.fixture(scope="module")
def retargeter() -> Retargeter:
    """Of seeded weights, but one whose pictures really move."""
    return Retargeter(fill_seeded(build_network("small")), device="cpu", gain=GAIN, still_px=0)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory, made_up: SimpleNamespace) -> Path:
    """driving/ (wider than high, coloured, 160x128, longer than two look-aheads of the smoothing) and face.png."""
    folder = tmp_path_factory.mktemp("pairs")
    tint = np.array([1.0, 0.8, 0.6])
    with open_writer(folder / "driving", fps=5, size=(160, 128)) as writer:
        for frame in made_up.clip():
            wide = np.pad(frame, ((0, 0), (16, 16), (0, 0)), mode="edge")
            writer.write((wide * tint).astype(np.uint8))
    Image.fromarray((made_up.clip(seed=2)[0] * tint).astype(np.uint8)).save(folder / "face.png")
    return folder


def _frames(path: Path) -> list[np.ndarray]:
    with open_clip(path) as clip:
        return [frame.image for frame in clip]


@pytest.mark.parametrize("smoothing", ["none", "causal", "centred"])
def test_the_score_is_that_of_the_pictures(retargeter: Retargeter, kit: Path, tmp_path: Path, smoothing: str) -> None:
    out = tmp_path / "out"
    score = score_pair(retargeter, kit / "driving", kit / "face.png", save=out, smoothing=smoothing)
    middle = [frame[:, 16:-16] for frame in _frames(kit / "driving")]
    found = motion_fidelity(middle, _frames(out), read_picture(kit / "face.png"))
    assert score.fidelity == found and abs(found.corr) > 0.05 and found.flicker > 0.1
    late = motion_fidelity(middle[1:], _frames(out), read_picture(kit / "face.png"))
    assert abs(late.corr - found.corr) > 1e-3, "a shift must show"
    assert score.frames == 12 and score.driving == "driving" and score.output is None
    assert set(score.regions) == {"brows", "eyes", "nose", "mouth", "rest"}
    assert score.curves is not None and score.curves.shape == (2, 5, 2, 12)
    assert score.settings["smoothing"] == smoothing and score.settings["gain"] == GAIN
    assert score.settings["still_px"] == 0 and score.settings["relative_occlusion"]
    assert score.settings["reference_frame"] == 0 and score.to_dict()["settings"] == score.settings
    again = score_output(retargeter, kit / "driving", kit / "face.png", out)
    assert again.figures() == pytest.approx(score.figures()) and again.output == "out" and again.settings == {}
    assert again.regions["mouth"] == pytest.approx(score.regions["mouth"], abs=1e-4)


def test_an_output_that_is_not_square_is_cropped(retargeter: Retargeter, kit: Path, tmp_path: Path) -> None:
    """Only its middle is compared, as of the driving clip; what is beside it does not count."""
    middle = [frame[:, 16:-16] for frame in _frames(kit / "driving")]
    for name, sides in (("square", 0), ("wide", 30)):
        with open_writer(tmp_path / name, fps=5, size=(128 + 2 * sides, 128)) as writer:
            for frame in middle:
                writer.write(np.pad(frame, ((0, 0), (sides, sides), (0, 0))))
    found = [
        score_output(retargeter, kit / "driving", kit / "face.png", tmp_path / name) for name in ("square", "wide")
    ]
    assert found[0].fidelity.corr == pytest.approx(1) and found[1].fidelity == found[0].fidelity
    assert found[1].regions == found[0].regions


def test_nothing_is_kept_without_a_place(retargeter: Retargeter, kit: Path) -> None:
    seen: list[int] = []
    short = score_pair(
        retargeter, kit / "driving", kit / "face.png", end=3, on_frame=lambda frame: seen.append(frame.index)
    )
    assert short.frames == 3 and seen == [0, 1, 2]
    with pytest.raises(InputError, match="2 frames"):
        score_pair(retargeter, kit / "driving", kit / "face.png", end=2)


def test_grey_takes_the_colours_of_one_of_the_two(retargeter: Retargeter, kit: Path, tmp_path: Path) -> None:
    def drawn(grey: str) -> np.ndarray:
        asked = {"grey": grey, "end": 3, "smoothing": "none", "save": tmp_path / grey}
        score_pair(retargeter, kit / "driving", kit / "face.png", **asked)
        return _frames(tmp_path / grey)[0].astype(int)

    both, clip, face = drawn("none"), drawn("driving"), drawn("target")
    # The first frame shows the target at rest, whatever drives it.
    assert (both == clip).all() and np.abs(both - face).mean() > 5
    with pytest.raises(OptionError, match="gray"):
        drawn("gray")


def test_a_watched_clip_tells_what_it_showed(kit: Path) -> None:
    raw = [frame[:, 16:-16] for frame in _frames(kit / "driving")]
    for grey in (False, True):
        clip = WatchedDriving(kit / "driving", DrivingOptions(crop="none"), 256, grey)
        with pytest.raises(InputError):
            clip.seen(0)
        shots = list(clip.shots())  # all of it is read before the first frame is asked for
        assert clip.crop == Crop(16, 0, 128, 128) and len(shots) == len(raw) == 12
        for shot in shots:
            seen = clip.seen(shot.index)
            assert (seen[..., :1] == seen).all() == grey
            assert shot.image is not None and (shot.image[..., :1] == shot.image).all() == grey
            assert grey or (seen == raw[shot.index]).all()
        with pytest.raises(InputError, match="frame 3"):
            clip.seen(3)


def test_a_watched_clip_keeps_only_so_many(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eamfmeg_fast.evaluate.clips._MOST_KEPT", 4)
    clip = WatchedDriving(kit / "driving", DrivingOptions(crop="none", start=2), 256, False)
    assert [shot.index for shot in clip.shots()] == list(range(2, 12))
    with pytest.raises(InputError):
        clip.seen(7)
    assert clip.seen(8).shape == (128, 128, 3)


def test_one_that_fails_does_not_stop_the_rest(retargeter: Retargeter, kit: Path, tmp_path: Path) -> None:
    pairs = [Pair(kit / "none.gif", kit / "face.png"), Pair(kit / "driving", kit / "face.png")]
    results = list(score_pairs(retargeter, pairs, end=3))
    assert [result.score is None for result in results] == [True, False]
    assert results[0].error is not None and "none.gif" in results[0].error
    faceless = list(score_pairs(retargeter, pairs[1:], crop="auto"))
    assert faceless[0].error is not None and "no face" in faceless[0].error
    write_report(tmp_path, results, {"weights": "seeded"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face__driving.svg", "scores.json", "scores.md"]
    found = to_json(results, {"weights": "seeded"})
    assert found["failed"] == 1 and found["weights"] == "seeded" and len(found["pairs"]) == 2
    table = to_markdown(results).splitlines()
    assert len(table) == 5 and "not scored" in table[2] and table[4].startswith("| mean |")
    with pytest.raises(MediaError):
        write_report(tmp_path / "none", results, {})


def test_the_mean_of_traces_is_that_of_their_sizes() -> None:
    scores = [
        ClipScore("d", "t", None, 3, Fidelity(corr, 1.0, 1.0, 1.0, 30.0, 1.0), trace, 0.001)
        for corr, trace in ((0.2, 0.01), (0.6, -0.03), (0.4, float("nan")))
    ]
    mean = mean_figures(scores)
    assert mean["corr"] == pytest.approx(0.4) and mean["trace"] == pytest.approx(0.02)
    assert np.isnan(mean_figures(scores[2:])["trace"])
