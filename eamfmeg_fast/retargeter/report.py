"""What is plain about a retargeting: the prepared target, a drawn frame, and the report on how a pass went."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from eamfmeg_fast.engine import TargetState
from eamfmeg_fast.faces import Crop, Picture
from eamfmeg_fast.network import Keypoints

_MAX_LISTED = 100


@dataclass(frozen=True)
class Target:
    """A prepared target face.

    Attributes:
        state: what the engine keeps. picture: uint8 `[S, S, 3]`, the crop. crop: its box in the original.
        name: for people. sha256: of the file, "" without one. path: the file, None without one.
    """

    state: TargetState
    picture: Picture
    crop: Crop
    name: str
    sha256: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class RetargetedFrame:
    """One drawn frame.

    Attributes:
        image: uint8 `[S, S, 3]` RGB.
        index, time: of the driving frame it repeats; time in seconds.
        timings: milliseconds for "read", "face", "keypoints" and "draw", as far as they were needed.
        lost: the face was gone, the picture is the last one before.
        keypoints: of the driving frame, before any smoothing.
        driving: the driving frame as the network saw it, uint8 `[S, S, 3]`; None from a motion file.
    """

    image: Picture
    index: int
    time: Fraction
    timings: dict[str, float]
    lost: bool
    keypoints: Keypoints
    driving: Picture | None = None


@dataclass
class Report:
    """How one pass through a clip went; plain values.

    Attributes:
        frames: drawn. lost: in which the face was gone; lost_frames: the first hundred of them.
        stopped_at: index of the frame that ended the clip early, or None.
        reference_frame: index of the neutral driving frame; "steadied 0-19" where it is the mean over these; None for
            one set by `set_reference`.
        options: everything that made the pictures what they are. fps: frames per second, exact text.
        seconds: wall time. mean_ms: milliseconds per frame and stage.
        output, manifest, motion_file: what was written.
    """

    target: str = ""
    driving: str = ""
    frames: int = 0
    lost: int = 0
    lost_frames: list[int] = field(default_factory=list)
    stopped_at: int | None = None
    reference_frame: int | str | None = None
    fps: str = ""
    seconds: float = 0.0
    mean_ms: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    output: str | None = None
    manifest: str | None = None
    motion_file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return asdict(self)

    def count(self, frame: RetargetedFrame) -> None:
        """Take one drawn frame into the figures."""
        self.frames += 1
        for stage, ms in frame.timings.items():
            mean = self.mean_ms.get(stage, 0.0)
            self.mean_ms[stage] = mean + (ms - mean) / self.frames

    def lose(self, index: int) -> None:
        """Note a frame without a face."""
        self.lost += 1
        if len(self.lost_frames) < _MAX_LISTED:
            self.lost_frames.append(index)


def frames_in_words(neutral: range | None) -> int | str | None:
    """A frame's number only where it was taken alone."""
    if neutral is None or len(neutral) == 1:
        return None if neutral is None else neutral.start
    return f"steadied {neutral.start}-{neutral.stop - 1}"
