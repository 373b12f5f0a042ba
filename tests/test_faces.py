"""Finding, cutting and watching the face."""

from __future__ import annotations

import gzip
from importlib import resources

import cv2
import numpy as np
import pytest

from eamfmeg_fast.errors import DtypeError, FaceError, OptionError, ShapeError
from eamfmeg_fast.faces import Crop, FaceFinder, FaceWatch, cut, find_crop, parse_crop
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A lab face of about 180 of 256 pixels."""
    clip = lab_clip(HELD_OUT_SEEDS[1], action_units={}, fps=25, seed=1, duration_s=0.1, noisy=False)
    return clip.frames[0].numpy()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def scene(face: np.ndarray, x: int, y: int, width: int = 640, height: int = 480) -> np.ndarray:
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[y : y + 256, x : x + 256] = face
    return picture


def noise(height: int = 200, width: int = 300) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_cascade_carries_its_licence() -> None:
    packed = (resources.files("eamfmeg_fast") / "data" / "haarcascade_frontalface_default.xml.gz").read_bytes()
    assert b"Redistribution and use in source and binary forms" in gzip.decompress(packed)[:4000]
    assert "haarcascade" in (resources.files("eamfmeg_fast") / "data" / "NOTICE").read_text()


def test_the_box_follows_the_face(face: np.ndarray, finder: FaceFinder) -> None:
    here, there = finder.find(scene(face, 20, 30)), finder.find(scene(face, 320, 190))
    assert here is not None and there is not None
    assert abs(there.centre[0] - here.centre[0] - 300) < 25 and abs(there.centre[1] - here.centre[1] - 160) < 25
    assert 120 < here.side < 240


def test_a_face_that_fills_the_picture_is_found(face: np.ndarray, finder: FaceFinder) -> None:
    tight = face[40:215, 30:205]
    found = finder.find(tight)
    assert found is not None and found.side > 0.8 * 175
    assert find_crop(tight, finder=finder) == Crop(0, 0, 175, 175)


def test_no_face_is_found_where_none_is(finder: FaceFinder) -> None:
    assert finder.find(noise()) is None
    assert finder.find(np.full((100, 100, 3), 128, np.uint8)) is None
    with pytest.raises(FaceError, match="wall.png.*--crop none"):
        find_crop(noise(), finder=finder, name="wall.png")


@pytest.mark.parametrize(("x", "y"), [(192, 112), (0, 0), (384, 224)])
def test_auto_is_a_square_around_the_face_inside_the_picture(
    face: np.ndarray, finder: FaceFinder, x: int, y: int
) -> None:
    picture = scene(face, x, y)
    crop, found = find_crop(picture, "auto", finder=finder), finder.find(picture)
    assert found is not None and crop.width == crop.height
    assert 0 <= crop.x <= 640 - crop.width and 0 <= crop.y <= 480 - crop.height
    assert crop.width == pytest.approx(1.35 * found.side, abs=1)
    assert crop.x <= found.centre[0] <= crop.x + crop.width and crop.y <= found.centre[1] <= crop.y + crop.height
    if (x, y) == (192, 112):
        above, below = found.y - crop.y, crop.y + crop.height - (found.y + found.side)
        assert above > below > 0


def test_none_is_the_largest_square_in_the_middle() -> None:
    assert find_crop(noise(200, 300), "none") == Crop(50, 0, 200, 200)
    assert find_crop(noise(301, 200), "none") == Crop(0, 50, 200, 200)
    assert find_crop(noise(64, 64), "none") == Crop(0, 0, 64, 64)


def test_a_box_is_taken_as_it_is() -> None:
    assert parse_crop(" 1, 2,30,40") == parse_crop((1, 2, 30, 40)) == parse_crop(Crop(1, 2, 30, 40))
    assert find_crop(noise(), "100,0,200,200") == Crop(100, 0, 200, 200)
    assert str(Crop(1, 2, 3, 4)) == "1,2,3,4"


@pytest.mark.parametrize("crop", ["face", "1,2,3", "1,2,3,4,5", "-1,2,30,40", (1, 2, 3), (1.5, 2, 30, 40), 7, "9" * 99])
def test_crops_that_mean_nothing_are_refused(crop: object) -> None:
    with pytest.raises(OptionError, match="crop"):
        parse_crop(crop)


@pytest.mark.parametrize("box", ["0,0,301,20", "290,0,20,20", "0,190,20,20", "0,0,7,20", "0,0,0,0"])
def test_boxes_outside_the_picture_are_refused(box: str) -> None:
    with pytest.raises(OptionError, match="inside 300x200"):
        find_crop(noise(), box)


def test_pictures_of_other_kinds_are_refused() -> None:
    with pytest.raises(DtypeError):
        find_crop(noise().astype(np.float32), "none")
    with pytest.raises(DtypeError):
        find_crop([[1]], "none")  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        find_crop(noise()[..., 0], "none")
    with pytest.raises(ShapeError):
        find_crop(np.zeros((10, 10, 4), np.uint8), "none")


def test_cut_leaves_pixels_alone_where_it_can() -> None:
    picture = noise()
    out = cut(picture, Crop(10, 20, 64, 64), 64)
    assert (out == picture[20:84, 10:74]).all()
    out[:] = 0
    assert picture[20:84, 10:74].any()


def test_cut_averages_when_it_shrinks() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(cut(stripes, Crop(0, 0, 256, 256), 128).astype(int) - 100).max() <= 1


def test_cut_stays_sharp_and_centred_when_it_grows() -> None:
    picture = cv2.GaussianBlur(noise(64, 64), (0, 0), 1)
    out = cut(picture, Crop(0, 0, 64, 64), 256)
    linear = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_LINEAR)
    assert cv2.Laplacian(out, cv2.CV_64F).var() > cv2.Laplacian(linear, cv2.CV_64F).var()
    back = cv2.resize(out, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(back - picture).mean() < 6


def test_the_watch_notices_loss_and_return(face: np.ndarray, finder: FaceFinder) -> None:
    picture, gone = scene(face, 192, 112), scene(np.full_like(face, 60), 0, 0)
    watch = FaceWatch(finder, find_crop(picture, finder=finder), picture, every=1)
    assert [watch.lost(frame) for frame in (picture, gone, gone, picture, picture)] == [False, True, True, False, False]


def test_the_watch_looks_every_few_frames_and_at_each_while_lost(face: np.ndarray, finder: FaceFinder) -> None:
    picture, gone = scene(face, 192, 112), noise(480, 640)
    watch = FaceWatch(finder, find_crop(picture, finder=finder), picture, every=3)
    frames = [picture, picture, picture, gone, gone, gone, gone, picture, picture]
    assert [watch.lost(frame) for frame in frames] == [False] * 5 + [True, True, False, False]


def test_a_face_elsewhere_is_another_face(face: np.ndarray, finder: FaceFinder) -> None:
    picture = scene(face, 0, 0, 1000)
    watch = FaceWatch(finder, find_crop(picture, finder=finder), picture, every=1)
    assert watch.lost(scene(face, 700, 200, 1000))


def test_a_frame_like_the_last_good_one_is_no_loss(face: np.ndarray, finder: FaceFinder) -> None:
    picture = scene(face, 192, 112)
    crop = find_crop(picture, finder=finder)

    class Blind(FaceFinder):
        def sees(self, image: np.ndarray, crop: Crop) -> bool:
            return False

    watch = FaceWatch(Blind(), crop, picture, every=1)
    darker = (picture * 0.7).astype(np.uint8)
    assert not watch.lost(darker)
    assert watch.lost(noise(480, 640))
