"""Sets of clips made from a photograph: landmarks given or found, the mark, the labels, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from eamfmeg_fast.errors import FaceError, MediaError, OptionError, ShapeError
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LANDMARKS, lab_clip
from eamfmeg_fast.media import open_clip, read_picture
from eamfmeg_fast.media.mark import ALTERED_PHOTO
from eamfmeg_fast.provenance import read_mark, sha256_of, verify
from eamfmeg_fast.synth import SynthOptions, synthesise
from eamfmeg_fast.synth.truth import TruthFile


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab face as a picture of 160 x 128 pixels, upright and lying on its side with EXIF, and its landmarks."""
    folder = tmp_path_factory.mktemp("photo")
    clip = lab_clip(HELD_OUT_SEEDS[3], action_units={}, size=128, fps=25, noisy=False, drift=0.0)
    picture = np.full((128, 160, 3), 120, np.uint8)
    picture[:, 20:148] = clip.frames[0].numpy()
    Image.fromarray(picture).save(folder / "face.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture).copy()).save(folder / "lying.png", exif=exif)
    places = {name: [x + 20, y] for name, (x, y) in zip(LANDMARKS, clip.landmarks_px[0].tolist(), strict=True)}
    (folder / "places.json").write_text(json.dumps(places))
    return folder


def _options(kit: Path, **changes: Any) -> SynthOptions:
    given = {"photo": kit / "face.png", "landmarks": kit / "places.json", "crop": "20,0,128,128", "size": 128}
    return SynthOptions(**{"clips": 1, "fps": 50, "emotion": "happiness", **given, **changes})


def test_a_set_from_a_photo_is_labelled_marked_and_true(kit: Path, tmp_path: Path) -> None:
    made = list(synthesise(tmp_path / "set", _options(kit, clips=2, truth="full", emotion="all")))
    assert [clip.clip_id for clip in made] == ["sub01/EP01_01f", "sub01/EP02_02f"]
    photo = read_picture(kit / "face.png")[:, 20:148]
    for clip in made:
        assert verify(clip.path).ok and clip.truth is not None
        mark = read_mark(clip.path)
        assert mark is not None and mark.digital_source_type == ALTERED_PHOTO
        assert mark.target_sha256 == sha256_of(kit / "face.png") and mark.weights_sha256 == ""
        with open_clip(clip.path) as reader:
            frames = [frame.image for frame in reader]
        truth = safetensors.numpy.load_file(clip.truth)
        assert len(frames) == clip.row["n_frames"] == len(truth["displacement_px"]) == len(truth["edges"])
        assert (frames[0] == photo).all() and (frames[clip.row["apex"]] != photo).any()
        moving = [bool(way.any()) for way in truth["displacement_px"]]
        assert moving == [clip.row["onset"] < t < clip.row["offset"] for t in range(len(frames))]
        assert truth["valid"].dtype == bool and truth["intensity"].argmax(0).max() == clip.row["apex"]
    rows = (tmp_path / "set" / "annotations_full.csv").read_text().splitlines()
    assert len(rows) == 3 and "face.png" in rows[1]


def test_landmarks_that_are_missing_are_found(kit: Path, tmp_path: Path) -> None:
    given = json.loads((kit / "places.json").read_text())
    (made,) = synthesise(tmp_path / "found", _options(kit, landmarks=None))
    (some,) = synthesise(tmp_path / "some", _options(kit, landmarks={"lip_corner_left": given["lip_corner_left"]}))
    starts = [safetensors.numpy.load_file(str(clip.truth))["landmarks_px"][0] for clip in (made, some)]
    true = np.array([given[name] for name in LANDMARKS]) - [20, 0]
    assert np.median(np.hypot(*(starts[0] - true).T)) < 8.0
    assert starts[1][6] == pytest.approx(true[6], abs=1e-3) and starts[0][6] != pytest.approx(true[6], abs=1e-3)
    mark = read_mark(made.path)
    assert mark is not None and len(mark.weights_sha256) == 64


def test_a_photo_is_taken_upright_and_at_any_size(kit: Path, tmp_path: Path) -> None:
    for size in (64, 200):
        images = []
        for name in ("face.png", "lying.png"):
            options = _options(kit, photo=kit / name, size=size, truth="none", layout="mp4")
            (made,) = synthesise(tmp_path / f"{name}{size}", options)
            with open_clip(made.path) as reader:
                images.append(np.stack([frame.image for frame in reader]))
        assert images[0].shape[1:] == (size, size, 3) and (images[0] == images[1]).all()


def test_an_mp4_states_that_a_photo_was_altered(kit: Path, tmp_path: Path) -> None:
    (made,) = synthesise(tmp_path / "set", _options(kit, layout="mp4", truth="none"))
    data = made.path.read_bytes()
    assert f"DigitalSourceType>{ALTERED_PHOTO}<".encode() in data and b"trainedAlgorithmicMedia" not in data


def test_refusals_leave_nothing_behind(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    Image.fromarray(np.full((80, 80, 3), 90, np.uint8)).save(tmp_path / "blank.png")
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (OptionError, {"landmarks": {"ear": (1.0, 2.0)}}), (OptionError, {"landmarks": {"chin": (1.0, float("nan"))}}),
        (OptionError, {"landmarks": {"chin": 7}}), (OptionError, {"landmarks": {"upper_lip": (2.0, 60.0)}}),
        (MediaError, {"landmarks": tmp_path / "list.json"}), (MediaError, {"photo": tmp_path / "none.png"}),
        (FaceError, {"photo": tmp_path / "blank.png", "crop": "auto"}), (OptionError, {"crop": "1,2,3"}),
    ]  # fmt: skip
    for error, changes in wrong:
        with pytest.raises(error):
            list(synthesise(tmp_path / "set", _options(kit, **changes)))
        assert not (tmp_path / "set").exists(), changes
    with pytest.raises(OptionError, match="no photo"):
        SynthOptions(landmarks={"chin": (1.0, 2.0)})


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 5000, "1e999", "1e300"])
def test_numbers_that_are_no_places_are_refused_in_one_line(kit: Path, tmp_path: Path, number: str) -> None:
    (tmp_path / "far.json").write_text(f'{{"chin": [{number}, 2.0]}}')
    with pytest.raises((OptionError, MediaError)) as caught:
        list(synthesise(tmp_path / "set", _options(kit, landmarks=tmp_path / "far.json")))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 and not (tmp_path / "set").exists()
    if len(number) < 10:
        return
    places = {"chin": (10 ** len(number), 2.0)}
    with pytest.raises(OptionError, match="landmark chin at "):
        list(synthesise(tmp_path / "set", _options(kit, landmarks=places)))


def test_a_photo_whose_name_is_no_text(kit: Path, tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"face\xff.png")
    photo.write_bytes((kit / "face.png").read_bytes())
    (made,) = synthesise(tmp_path / "set", _options(kit, photo=photo))
    assert made.row["target_identity"] == "face?.png" and verify(made.path).ok
    assert "face?.png" in (tmp_path / "set" / "annotations_full.csv").read_text(encoding="utf8")


def test_truth_is_whole_or_not_there(tmp_path: Path) -> None:
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {"seen": ("BOOL", (3,)), "way": ("F32", (2, 2))}
    with TruthFile(tmp_path / "t.safetensors", 2, shapes, {"text": "word", "rest": [1, 2]}) as file:
        for number in (1, 0):
            file.put("way", number, np.full((2, 2), number + 0.5, np.float64))
            file.put("seen", number, np.array([True, False, number == 1]))
    found = safetensors.numpy.load_file(tmp_path / "t.safetensors")
    assert found["way"][:, 0, 0].tolist() == [0.5, 1.5] and found["seen"].tolist()[1] == [True, False, True]
    with pytest.raises(ShapeError), TruthFile(tmp_path / "u.safetensors", 2, shapes, {}) as file:
        file.put("way", 0, np.zeros(3))
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
