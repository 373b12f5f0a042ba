"""Opens a driving clip of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eamfmeg_fast.driving.base import Driving, DrivingOptions
from eamfmeg_fast.driving.motion import MotionDriving
from eamfmeg_fast.driving.pictures import ArrayDriving, ClipDriving
from eamfmeg_fast.errors import InputError
from eamfmeg_fast.faces import FaceFinder
from eamfmeg_fast.motion_file import SUFFIX, MotionFile


def open_driving(given: Any, options: DrivingOptions, size: int, finder: FaceFinder | None = None) -> Driving:
    """Open a driving clip; at most its headers and one frame are read.

    Args:
        given: path of a clip or motion file, a `MotionFile`, or frames uint8 `[H, W, 3]` (list, generator, camera).
        options: how to read it.
        size: side S of the square that the network sees.
        finder: shared face detector; None makes one when it is needed.

    Raises:
        MediaError, OptionError: as the rooms that read it. InputError: no clip at all.
    """
    if isinstance(given, MotionFile):
        return MotionDriving(given, options)
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if path.suffix == SUFFIX and not path.is_dir():
            return MotionDriving(MotionFile(path), options)
        return ClipDriving(path, options, size, finder)
    if isinstance(given, Iterable):
        return ArrayDriving(given, options, size, finder)
    raise InputError(f"a driving clip of type {type(given).__name__}", "a path or an iterable of uint8 frames")
