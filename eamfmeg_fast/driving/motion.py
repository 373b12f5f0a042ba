"""A motion file as driving clip."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eamfmeg_fast.driving.base import (
    MAX_CANDIDATES,
    MIN_CANDIDATES,
    Detect,
    DrivingOptions,
    Shot,
    most_alike,
    single,
)
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.faces import Crop
from eamfmeg_fast.motion_file import MotionFile
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.provenance import sha256_of


class MotionDriving:
    """Keypoints that were found earlier; crop and face loss were settled then."""

    has_pictures = False

    def __init__(self, motion: MotionFile, options: DrivingOptions) -> None:
        if options.start is not None or options.end is not None:
            raise OptionError("start or end for a motion file", "them for clips only", "Cut the clip before saving it.")
        self.motion, self.options = motion, options
        self.path: Path | None = motion.path
        self.count: int | None = motion.count
        self.name, self.fps, self.origin = str(motion.path), motion.facts.fps, motion.facts.origin
        self.crop: Crop | None = None

    def shots(self) -> Iterator[Shot]:
        """The frames, each with its keypoints."""
        for row in self.motion:
            yield Shot(row.index, row.time, keypoints=_tensors(row.kp, row.jacobian))

    def initial(self, detect: Detect, target: Keypoints) -> tuple[Keypoints, range]:
        """The reference that the file holds, or another of its frames.

        Raises:
            OptionError: the reference frame asked for is not in the file.
        """
        at = self.options.reference_frame
        if at is None:
            facts = self.motion.facts
            return _tensors(*self.motion.initial), range(facts.reference, facts.reference + facts.averaged)
        if at == "auto":
            second = max(MIN_CANDIDATES, min(MAX_CANDIDATES, round(self.fps)))
            rows = itertools.islice(self.motion, second)
            return most_alike(((row.index, _tensors(row.kp, row.jacobian)) for row in rows), target)
        found = next((row for row in self.motion if row.index == at), None)
        if found is None:
            raise OptionError(f"reference frame {at} is not in {self.name}", "a frame of the clip")
        return _tensors(found.kp, found.jacobian), single(found.index)

    def sha256(self) -> str:
        """Hash of the motion file."""
        return sha256_of(self.motion.path)


def _tensors(kp: np.ndarray[Any, Any], jacobian: np.ndarray[Any, Any]) -> Keypoints:
    return Keypoints(torch.from_numpy(kp.copy())[None], torch.from_numpy(jacobian.copy())[None])
