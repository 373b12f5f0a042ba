"""A photograph made ready to be moved: read, cropped, its landmarks given by name or found by a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.faces import Crop, Picture, cut, find_crop
from eamfmeg_fast.lab import LANDMARKS
from eamfmeg_fast.lab.photo import PhotoClip, photo_clip
from eamfmeg_fast.lab.photo_fit import look_closer
from eamfmeg_fast.media import read_picture
from eamfmeg_fast.media.mark import ALTERED_PHOTO
from eamfmeg_fast.media.safe_file import read_json, shown
from eamfmeg_fast.provenance import Mark, sha256_of
from eamfmeg_fast.synth.options import SynthOptions

_NEEDED = LANDMARKS[:10]
_FARTHEST_PX = 1e6
"""More pixels than any picture has on a side; whole numbers in JSON may be too large for a float."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Photo:
    """A photograph as its clips show it.

    Attributes:
        path: of the file. crop: what of it is shown. image: uint8 [S, S, 3] RGB, the crop, frame 0 of every clip.
        landmarks: (x, y) in pixels of `image` by name.
        sha256: of the file. weights_sha256: of the network that found landmarks, "" where all were given.
    """

    path: Path
    crop: Crop
    image: Picture
    landmarks: dict[str, Place]
    sha256: str
    weights_sha256: str

    def clip(self, units: dict[int, float], options: SynthOptions, fps: Any, seed: int) -> PhotoClip:
        """A clip of it, to be drawn frame by frame."""
        return photo_clip(torch.from_numpy(self.image), self.landmarks, units, fps=fps, seed=seed)

    def mark(self, row: dict[str, Any]) -> Mark:
        """What its clips carry inside: that a photograph was altered, and which."""
        made = {"made_by": "lab", "altered": "a photograph: the face's expression was changed by an algorithm"}
        return Mark(
            target_sha256=self.sha256, weights_sha256=self.weights_sha256, options=made | row,
            digital_source_type=ALTERED_PHOTO,
        )  # fmt: skip


def open_photo(options: SynthOptions) -> Photo:
    """Read, crop and understand the photo of some options.

    Raises:
        MediaError: it cannot be read. FaceError: no face is found. OptionError: a crop or landmarks that cannot be.
        WeightsError: no such network.
    """
    path = Path(str(options.photo))
    picture = read_picture(path)
    crop = find_crop(picture, options.crop, name=shown(path))
    image = cut(picture, crop, options.size)
    given = {name: _into(crop, options.size, place) for name, place in _given(options.landmarks).items()}
    # A tight crop may cut off chin and jaws; the parts that move most have to be in it.
    reach = {name: 0 if name in _NEEDED else options.size for name in given}
    outside = [n for n, place in given.items() if not all(-1 - reach[n] < v < options.size + reach[n] for v in place)]
    if outside:
        raise OptionError(f"landmark {outside[0]} outside the crop {crop}", "landmarks in the part shown",
                          "Count in pixels of the whole photo, or choose another crop.")  # fmt: skip
    found, weights = dict(given), ""
    if not set(_NEEDED) <= given.keys():
        seen, weights = _found(picture, crop, options)
        found = look_closer(torch.from_numpy(image), seen | given, frozenset(given))
    return Photo(path, crop, image, found, sha256_of(path), weights)


def _given(landmarks: Mapping[str, Place] | str | Path | None) -> dict[str, Place]:
    """Landmarks of the options, in pixels of the whole photo.

    Raises:
        OptionError: an unknown name, or no pair of numbers that can be a place.
    """
    if landmarks is None:
        return {}
    table = landmarks if isinstance(landmarks, Mapping) else read_json(landmarks, "landmarks: name to [x, y]")
    for name, place in table.items():
        if name not in LANDMARKS:
            raise OptionError(f"landmark {str(name)[:40]!r}", f"one of: {', '.join(LANDMARKS)}", "Check the spelling.")
        pair = isinstance(place, list | tuple) and len(place) == 2
        if not pair or not all(type(v) in (int, float) and abs(v) <= _FARTHEST_PX for v in place):
            raise OptionError(f"landmark {name} at {_words(place)}", "[x, y] in pixels of the photo")
    return {name: (float(place[0]), float(place[1])) for name, place in table.items()}


def _words(place: Any) -> str:
    try:
        return repr(place)[:40]
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of far too many digits"


def _into(crop: Crop, size: int, place: Place) -> Place:
    """Pixels of the photo to pixels of the crop, resized; 0 is the centre of the first pixel in both."""
    x, y = place
    return (x + 0.5 - crop.x) * size / crop.width - 0.5, (y + 0.5 - crop.y) * size / crop.height - 0.5


def _found(picture: Picture, crop: Crop, options: SynthOptions) -> tuple[dict[str, Place], str]:
    """A network's keypoints, which are the first of the lab's landmarks, in pixels of the crop; the network's hash."""
    from eamfmeg_fast.retargeter import Retargeter

    retargeter = Retargeter.from_pretrained(options.weights, device="cpu")
    keypoints = retargeter.engine.detect(cut(picture, crop, retargeter.config.size)).kp[0].tolist()
    if len(keypoints) < len(_NEEDED):
        raise OptionError(f"weights with {len(keypoints)} keypoints", f"at least {len(_NEEDED)}", "Give landmarks.")
    pixels = {name: ((x + 1) * options.size / 2 - 0.5, (y + 1) * options.size / 2 - 0.5)
              for name, (x, y) in zip(LANDMARKS, keypoints, strict=False)}  # fmt: skip
    return pixels, retargeter.weights_sha256
