"""Finds the face in a picture and cuts out the square that the network sees; notices when the face is gone."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import cv2
import numpy as np

from eamfmeg_fast.errors import DtypeError, FaceError, OptionError, ShapeError

Picture = np.ndarray[Any, np.dtype[Any]]

_CASCADE = "haarcascade_frontalface_default.xml.gz"
_SEARCH_SIDES = (256, 640)
_PAD = 48
_SMALLEST_FACE = 40
_NEIGHBOURS = 3
_CROP_PER_FACE = 1.35
_HEAD_ROOM = 0.04
_ALIKE = 0.9
_CORRECTIONS = 3
_BOX = re.compile(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*")


@dataclass(frozen=True)
class Crop:
    """A box in a picture, whole pixels: its left upper corner, width and height."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


@dataclass(frozen=True)
class Face:
    """A face as the detector boxes it (brows to chin, cheek to cheek), pixels; the box may reach out of the picture.

    Attributes:
        x, y: left upper corner. side: of the square. score: the detector's confidence, above 0.
    """

    x: float
    y: float
    side: float
    score: float

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, pixels."""
        return self.x + self.side / 2, self.y + self.side / 2


class FaceFinder:
    """OpenCV's frontal Haar cascade, bundled with the package. One instance per thread."""

    def __init__(self) -> None:
        text = gzip.decompress((resources.files("eamfmeg_fast") / "data" / _CASCADE).read_bytes()).decode()
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        self._cascade = cv2.CascadeClassifier()
        self._cascade.read(storage.getFirstTopLevelNode())

    def find(self, image: Picture) -> Face | None:
        """The most prominent frontal face (size times confidence), or None.

        Args:
            image: uint8 `[H, W, 3]` RGB. Faces that touch or cross the border are found as well, since the border is
                continued outwards; the smallest has about a sixteenth of the picture's longer side.

        Raises:
            ShapeError, DtypeError: not such a picture.
        """
        grey = cv2.cvtColor(check_picture(image), cv2.COLOR_RGB2GRAY)
        for side in _SEARCH_SIDES:
            faces = self._search(grey, side, _NEIGHBOURS)
            if faces:
                return max(faces, key=lambda face: face.side * face.score)
            if max(grey.shape) <= side:
                break
        return None

    def _search(self, grey: Picture, side: int, neighbours: int) -> list[Face]:
        scale = side / max(grey.shape)
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=_interpolation(scale))
        small = cv2.copyMakeBorder(small, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REPLICATE)
        boxes, _, scores = self._cascade.detectMultiScale3(
            small, 1.1, neighbours, minSize=(_SMALLEST_FACE, _SMALLEST_FACE), outputRejectLevels=True
        )
        return [
            Face((x - _PAD) / scale, (y - _PAD) / scale, width / scale, max(float(score), 1e-3))
            for (x, y, width, _), score in zip(boxes, scores, strict=True)
        ]

    def sees(self, image: Picture, crop: Crop) -> bool:
        """Whether a face is in or near `crop`: less sure of a face than `find`, but only there.

        Args:
            image: uint8 `[H, W, 3]` RGB.
            crop: where the face was.
        """
        margin = max(crop.width, crop.height) // 4
        left, top = max(crop.x - margin, 0), max(crop.y - margin, 0)
        window = image[top : crop.y + crop.height + margin, left : crop.x + crop.width + margin]
        faces = self._search(cv2.cvtColor(window, cv2.COLOR_RGB2GRAY), 160, 1)
        middle = crop.x + crop.width / 2 - left, crop.y + crop.height / 2 - top
        reach = max(crop.width, crop.height)
        return any(
            abs(face.centre[0] - middle[0]) < 0.5 * reach
            and abs(face.centre[1] - middle[1]) < 0.5 * reach
            and face.side > 0.35 * reach
            for face in faces
        )


class FaceWatch:
    """Follows one clip and says for each frame whether the face is still there.

    A look every `every` frames costs little; while the face is away, every frame is looked at. A frame on which the
    detector fails, but which hardly differs from one on which it did not, counts as seen: blinks and blur are no loss.

    Args:
        finder: the detector.
        crop: where the face is.
        image: the frame it was found in.
        every: frames between two looks, at least 1.
    """

    def __init__(self, finder: FaceFinder, crop: Crop, image: Picture, every: int = 5) -> None:
        self.finder, self.crop, self.every = finder, crop, max(every, 1)
        self._since, self._lost = 0, False
        self._seen = self._patch(image)

    def lost(self, image: Picture) -> bool:
        """Whether the face is gone in this frame, uint8 `[H, W, 3]` RGB; call it once per frame, in order."""
        self._since += 1
        if not self._lost and self._since < self.every:
            return False
        self._since = 0
        patch = self._patch(image)
        if self.finder.sees(image, self.crop):
            self._seen, self._lost = patch, False
        else:
            self._lost = float((patch * self._seen).mean()) < _ALIKE
        return self._lost

    def _patch(self, image: Picture) -> Picture:
        """The crop at 24x24, grey, of mean 0 and deviation 1: robust against exposure, blind to small movements."""
        grey = cv2.cvtColor(cut(image, self.crop, 24), cv2.COLOR_RGB2GRAY).astype(np.float32)
        return (grey - grey.mean()) / max(float(grey.std()), 1.0)


def parse_crop(value: Any) -> Crop | str | None:
    """ "auto", "none", a `Crop`, or four numbers as a tuple or as text "x,y,w,h"; None stays None.

    Raises:
        OptionError: something else.
    """
    if value is None or isinstance(value, Crop) or value in ("auto", "none"):
        return value
    box = _BOX.fullmatch(value) if isinstance(value, str) else None
    numbers = [int(n) for n in box.groups()] if box else list(value) if isinstance(value, tuple | list) else []
    if len(numbers) != 4 or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise OptionError(f"crop {str(value)[:60]!r}", "auto, none or four pixel numbers x,y,w,h")
    return Crop(*numbers)


def find_crop(
    image: Picture, crop: Any = "auto", *, finder: FaceFinder | None = None, name: str = "the picture"
) -> Crop:
    """The box of `image` that the network shall see.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        crop: "auto": a square of 1.35 times the face's box, a little higher than it, pushed into the picture and no
            larger than it. "none": the largest square in the middle; nothing is cut off a square picture. Four
            numbers (x, y, width, height) or a `Crop`: that box, which need not be square (it is then squeezed).
        finder: for "auto"; None makes one.
        name: what to call the picture in errors.

    Raises:
        FaceError: "auto" found no face. OptionError: a box that is empty or not inside the picture.
        ShapeError, DtypeError: not such a picture.
    """
    height, width = check_picture(image).shape[:2]
    crop = parse_crop(crop)
    if isinstance(crop, Crop):
        return _checked(crop, width, height, name)
    if crop == "none":
        side = min(width, height)
        return Crop((width - side) // 2, (height - side) // 2, side, side)
    face = (finder or FaceFinder()).find(image)
    if face is None:
        fix = "Use `--crop none`, or name the box with `--crop x,y,w,h`."
        raise FaceError(f"no face found in {name}", "a frontal face", fix)
    side = min(round(face.side * _CROP_PER_FACE), width, height)
    x, y = face.centre
    left = min(max(round(x - side / 2), 0), width - side)
    top = min(max(round(y - _HEAD_ROOM * side - side / 2), 0), height - side)
    return Crop(left, top, side, side)


def cut(image: Picture, crop: Crop, size: int = 256) -> Picture:
    """The box of a picture, resized.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        crop: inside the picture.
        size: side of the result.

    Returns:
        uint8 `[size, size, 3]`, a copy. Area averaging when it shrinks. When it grows: cubic, then corrected until area
        averaging gives the box back, so that enlarging loses no sharpness.

    Convention:
        pixel centres at half-integers (the edges of the box map to the edges of the result).
    """
    box = image[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    if box.shape[:2] == (size, size):
        return np.ascontiguousarray(box).copy()
    if min(box.shape[:2]) < size:
        return _enlarged(box, size)
    return cv2.resize(np.ascontiguousarray(box), (size, size), interpolation=cv2.INTER_AREA)


def _enlarged(box: Picture, size: int) -> Picture:
    """Cubic enlargement with iterative back-projection (Irani and Peleg, 1991)."""
    small = box.astype(np.float32)
    large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(_CORRECTIONS):
        missing = small - cv2.resize(large, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        large = large + cv2.resize(missing, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(large + 0.5, 0, 255).astype(np.uint8)


def check_picture(image: Any) -> Picture:
    """`image` itself, if it is uint8 `[H, W, 3]`.

    Raises:
        ShapeError, DtypeError: it is not.
    """
    if not isinstance(image, np.ndarray):
        raise DtypeError(f"a {type(image).__name__}", "a uint8 array [H, W, 3]", "Convert it with numpy.asarray.")
    if image.dtype != np.uint8:
        raise DtypeError(f"a picture of type {image.dtype}", "uint8", "Scale it to 0...255 and convert it.")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"a picture of shape {list(image.shape)}", "[H, W, 3] RGB", "Reorder its axes.")
    return image


def _checked(crop: Crop, width: int, height: int, name: str) -> Crop:
    inside = crop.x + crop.width <= width and crop.y + crop.height <= height
    if min(crop.width, crop.height) < 8 or min(crop.x, crop.y) < 0 or not inside:
        raise OptionError(f"crop {crop} of {name}", f"a box of at least 8x8 pixels inside {width}x{height}")
    return crop


def _interpolation(scale: float) -> int:
    return cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
