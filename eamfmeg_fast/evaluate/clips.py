"""Real clips: a driving clip repeated on a target, drawn or given, and how faithful that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from eamfmeg_fast.driving import DrivingOptions, Shot
from eamfmeg_fast.driving.pictures import ClipDriving
from eamfmeg_fast.errors import InputError, OptionError
from eamfmeg_fast.evaluate.fidelity import Fidelity, FidelityMeter
from eamfmeg_fast.evaluate.flow_cells import SIDE, grey_thumbnail
from eamfmeg_fast.evaluate.regions import RegionCurves, find_regions
from eamfmeg_fast.evaluate.texture import TextureMeter
from eamfmeg_fast.faces import Crop, Picture, cut, find_crop
from eamfmeg_fast.media import Frame, open_clip, read_picture
from eamfmeg_fast.retargeter import Retargeter, Target

Array = np.ndarray[Any, Any]
Moment = int | str | None

GREY = ("none", "driving", "target")
LANDMARK_PRESETS = ("small", "base")
"""Presets whose keypoints are the lab's landmarks, so that they have names."""
_MOST_KEPT = 1024
"""Frames that a driving clip is ever read ahead of the one that is drawn, and then some."""


@dataclass(frozen=True)
class ClipScore:
    """How well one driving clip was repeated on one target.

    Attributes:
        driving, target: file names. output: of the clip that was scored; None where it was drawn here.
        frames: pairs that were compared.
        fidelity: see there. trace: share of the driver's own texture in the output, `TextureMeter.share`;
            NaN where the two look too alike to tell; trace_floor: what chance gives.
        regions: by part of the face, `RegionCurves.figures`; empty where the keypoints have no names.
        settings: what made the pictures what they are, `Clip.describe`; empty where they were not drawn here.
        curves: `RegionCurves.curves`, or None.
    """

    driving: str
    target: str
    output: str | None
    frames: int
    fidelity: Fidelity
    trace: float
    trace_floor: float
    regions: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    curves: Array | None = field(default=None, repr=False, compare=False)

    def figures(self) -> dict[str, float]:
        """The figures that have a mean over pairs."""
        return self.fidelity.to_dict() | {"trace": self.trace}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, as plain values."""
        names = {"driving": self.driving, "target": self.target, "output": self.output, "frames": self.frames}
        rest = {"trace_floor": self.trace_floor, "regions": self.regions, "settings": self.settings}
        return names | self.figures() | rest


def score_pair(
    retargeter: Retargeter,
    driving: Path | str,
    target: Path | str,
    *,
    crop: str = "none",
    grey: str = "none",
    save: Path | None = None,
    on_frame: Callable[..., None] | None = None,
    **options: Any,
) -> ClipScore:
    """Draw `driving` on `target` and score what comes out.

    Args:
        driving: a clip. target: a picture. crop: of both, "none" or "auto".
        grey: "driving" or "target": that one loses its colours first.
        save: also write the result there, lossless (.mp4, or a folder). on_frame: called after every frame.
        options: of `Retargeter.__call__`: start, end, motion, gain, reference_frame, ...

    Raises:
        OptionError: a word that means nothing. MediaError, FaceError: an input that cannot be used.
    """
    if grey not in GREY:
        raise OptionError(f"grey {grey!r}", ", ".join(GREY), "Check the spelling.")
    picture, face = _opened(retargeter, Path(target), crop, grey == "target")
    clip = retargeter(face, str(driving), crop_driving=crop, **options)
    watched = WatchedDriving(Path(driving), clip.options, retargeter.config.size, grey == "driving")
    clip.driving = watched
    meter = _PairMeter(retargeter, cut(picture, face.crop, SIDE))

    def take(frame: Any) -> None:
        meter.step(watched.seen(frame.index), frame.image, frame.driving)
        if on_frame is not None:
            on_frame(frame)

    if save is None:
        for frame in clip:
            take(frame)
    else:
        clip.save(save, lossless=True, overwrite=True, on_frame=take)
    score = meter.result(Path(driving).name, Path(target).name)
    made = {} if clip.report is None else clip.report.options
    return replace(score, settings=made | {"relative_occlusion": retargeter.config.relative_occlusion})


def _opened(retargeter: Retargeter, path: Path, crop: str, grey: bool) -> tuple[Picture, Target]:
    """The target picture as it is, and prepared."""
    picture = read_picture(path)
    if not grey:
        return picture, retargeter.open_target(path, crop)
    picture = _greyed(picture)
    return picture, replace(retargeter.open_target(picture, crop), name=str(path), path=path)


def score_output(
    retargeter: Retargeter,
    driving: Path | str,
    target: Path | str,
    output: Path | str,
    *,
    crop: str = "none",
    on_frame: Callable[..., None] | None = None,
) -> ClipScore:
    """Score a clip that some other system drew; the arguments are as `score_pair`'s.

    Args:
        retargeter: finds the regions of the faces; nothing is drawn.
        output: the clip; whole where it is square, else cropped as the driving clip is.

    Raises:
        MediaError, FaceError, InputError: an input that cannot be used.
    """
    picture = read_picture(target)
    meter = _PairMeter(retargeter, cut(picture, find_crop(picture, crop), SIDE))
    with open_clip(driving) as one, open_clip(output) as other:
        box = shown = None
        for first, second in zip(one, other):
            box = box or find_crop(first.image, crop, name=str(driving))
            shown = shown or _output_crop(second.image, crop, str(output))
            size, drawn = retargeter.config.size, second.image[shown.y :, shown.x :][: shown.height, : shown.width]
            meter.step(cut(first.image, box, SIDE), drawn, cut(first.image, box, size))
            if on_frame is not None:
                on_frame(second)
    return meter.result(Path(driving).name, Path(target).name, Path(output).name)


def _output_crop(image: Picture, crop: str, name: str) -> Crop:
    height, width = image.shape[:2]
    return find_crop(image, "none" if height == width else crop, name=name)


class WatchedDriving(ClipDriving):
    """A driving clip that remembers its frames as they came, before the network's size is made of them.

    A clip may be read well ahead of the frame that is drawn; frames are kept until one behind them is asked for.

    Args:
        path, options, size: as `ClipDriving`. grey: take the colours away.
    """

    def __init__(self, path: Path, options: DrivingOptions, size: int, grey: bool) -> None:
        super().__init__(path, options, size, None)
        self._grey_only = grey
        self._raw: Frame | None = None
        self._kept: dict[int, Picture] = {}

    def frames(self, start: Moment, end: Moment) -> Generator[Frame, None, None]:
        """The frames of a span."""
        with closing(super().frames(start, end)) as frames:
            for frame in frames:
                if self._grey_only:
                    frame = replace(frame, image=_greyed(frame.image))
                self._raw = frame
                yield frame

    def shots(self) -> Iterator[Shot]:
        """The frames wanted, cropped."""
        for shot in super().shots():
            if self._raw is not None and self.crop is not None and self._raw.index == shot.index:
                self._kept[shot.index] = cut(self._raw.image, self.crop, SIDE)
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            yield shot

    def seen(self, index: int) -> Picture:
        """The crop of frame `index`, uint8 `[128, 128, 3]`; frames before it are forgotten.

        Raises:
            InputError: it was not read yet, or is forgotten.
        """
        for past in [number for number in self._kept if number < index]:
            del self._kept[past]
        if index not in self._kept:
            raise InputError(f"driving frame {index}, which is not at hand", "frames in the order of the clip")
        return self._kept[index]


class _PairMeter:
    """All that is measured on one pair."""

    def __init__(self, retargeter: Retargeter, target: Picture) -> None:
        grey = grey_thumbnail(target)
        self._retargeter = retargeter
        self._fidelity, self._texture = FidelityMeter(grey), TextureMeter(grey)
        self._curves: RegionCurves | None = None

    def step(self, driving: Picture, output: Picture, seen: Picture | None) -> None:
        """One pair of frames; `seen` is the driving frame as the network sees it."""
        one, other = grey_thumbnail(driving), grey_thumbnail(output)
        if self._fidelity.frames == 0 and seen is not None and self._retargeter.config.preset in LANDMARK_PRESETS:
            size = self._retargeter.config.size
            shown = cut(output, find_crop(output, "none"), size)
            self._curves = RegionCurves(find_regions(self._keypoints(seen)), find_regions(self._keypoints(shown)))
        self._fidelity.step(one, other)
        self._texture.step(one, other)
        if self._curves is not None:
            self._curves.step(self._fidelity.driving_cells, self._fidelity.output_cells)

    def result(self, driving: str, target: str, output: str | None = None) -> ClipScore:
        """The score of all frames."""
        fidelity, curves = self._fidelity.result(), self._curves
        figures = {} if curves is None else curves.figures()
        return ClipScore(
            driving, target, output, self._fidelity.frames, fidelity, self._texture.share(), self._texture.floor(),
            figures, curves=None if curves is None else curves.curves(),
        )  # fmt: skip

    def _keypoints(self, picture: Picture) -> Array:
        found: Array = self._retargeter.engine.detect(picture).kp[0].float().cpu().numpy()
        return found


def mean_figures(scores: list[ClipScore]) -> dict[str, float]:
    """The mean of every figure over the pairs that have it; of `trace` the mean size, whatever its sign."""
    rows = [score.figures() | {"trace": abs(score.trace)} for score in scores]
    known = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) if values else math.nan for name, values in known.items()}


def _greyed(picture: Picture) -> Picture:
    grey: Picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return grey
