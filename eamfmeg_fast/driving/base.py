"""What every driving clip offers, and how a user wants it read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.faces import Crop, Picture, parse_crop
from eamfmeg_fast.media import DEFAULT_FPS
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.relative import hull_area

ON_LOST = ("hold", "skip", "stop")
SMOOTHING = ("none", "causal", "centred")
MAX_CANDIDATES = 256
MIN_CANDIDATES = 8

Detect = Callable[[Picture], Keypoints]


@dataclass(frozen=True)
class DrivingOptions:
    """How a driving clip is read.

    Attributes:
        crop: as `faces.find_crop`, found in the first frame and kept; None: "auto", unless that frame already has the
            network's size.
        start, end: frames wanted, as `media.open_clip` (of a file or folder only).
        on_lost: "hold", "skip" or "stop": what happens to frames in which the face of an "auto" crop is gone.
        reference_frame: number of the neutral frame; "auto": of the first second, the one most like the target; None:
            the first one wanted, of a clip on disk the mean over its still beginning (`neutral.steadied`; of a motion
            file: what it was saved with).
        smoothing: of the keypoints over time, "none", "causal" or "centred" (`smoothing.smoothed`).
        fps: of frames handed over, which have no clock; a file's own rate counts otherwise.

    Raises:
        OptionError: a value that means nothing.
    """

    crop: Any = None
    start: int | str | None = None
    end: int | str | None = None
    on_lost: str = "hold"
    reference_frame: int | str | None = None
    fps: Fraction | int | float | str = DEFAULT_FPS
    smoothing: str = "none"

    def __post_init__(self) -> None:
        parse_crop(self.crop)
        if self.on_lost not in ON_LOST:
            raise OptionError(f"on_lost {self.on_lost!r}", ", ".join(ON_LOST), "Check the spelling.")
        if self.smoothing not in SMOOTHING:
            raise OptionError(f"smoothing {self.smoothing!r}", ", ".join(SMOOTHING), "Check the spelling.")
        at = self.reference_frame
        if not (at is None or at == "auto" or (isinstance(at, int) and not isinstance(at, bool) and at >= 0)):
            raise OptionError(f"reference frame {at!r}", "a frame number or auto")


@dataclass
class Shot:
    """One driving frame.

    Attributes:
        index, time: as `media.Frame`.
        image: uint8 `[S, S, 3]`, None from a motion file. keypoints: from a motion file, else None.
        lost: the face is not in it.
        timings: milliseconds by stage.
    """

    index: int
    time: Fraction
    image: Picture | None = None
    keypoints: Keypoints | None = None
    lost: bool = False
    timings: dict[str, float] = field(default_factory=dict)


class Driving(Protocol):
    """An opened driving clip.

    Attributes:
        name: for people. fps: frames per second. origin: number of frame 0 in the recording. count: frames, if known.
        path: the file or folder, None for frames handed over. has_pictures: frames have images.
        crop: the box that the network sees, once known.
    """

    name: str
    fps: Fraction
    origin: int
    count: int | None
    path: Path | None
    has_pictures: bool
    crop: Crop | None

    def shots(self) -> Iterator[Shot]:
        """The frames in order, from the beginning."""

    def initial(self, detect: Detect, target: Keypoints) -> tuple[Keypoints, range]:
        """Keypoints of the neutral face, and the numbers of the frames that they are the mean of."""

    def sha256(self) -> str:
        """Hash of the file or folder; "" for frames handed over."""


def single(index: int) -> range:
    """The numbers of one frame alone."""
    return range(index, index + 1)


def most_alike(found: Iterable[tuple[int, Keypoints]], target: Keypoints) -> tuple[Keypoints, range]:
    """The keypoints nearest to the target's once both are centred and scaled by their hulls, and their frame number."""
    wanted = _normalised(target.kp)
    index, keypoints = min(found, key=lambda item: float((_normalised(item[1].kp) - wanted).square().sum()))
    return keypoints, single(index)


def _normalised(kp: torch.Tensor) -> torch.Tensor:
    kp = kp.detach().double().cpu()[0]
    kp = kp - kp.mean(0)
    area = hull_area(kp)
    return kp / area**0.5 if area > 0 else kp
