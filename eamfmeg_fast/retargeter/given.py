"""What a user hands to a retargeter, checked."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from PIL import Image

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.engine import Adjusted, NetworkParameters, Parameters
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.faces import Picture, check_picture
from eamfmeg_fast.media import read_picture
from eamfmeg_fast.media.frames import check_size
from eamfmeg_fast.media.picture import upright
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights import StoredWeights

MOTIONS = ("relative", "absolute")
MAX_GAIN = 100.0

PictureLike = str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any]


def adjusted(network: Network | StoredWeights, **changes: Any) -> Parameters:
    """The network, with the switches that were asked for."""
    parameters: Parameters = NetworkParameters(network) if isinstance(network, Network) else network
    asked = {name: value for name, value in changes.items() if value is not None}
    return Adjusted(parameters, **asked) if asked else parameters


def picture_of(given: PictureLike) -> Picture:
    """A picture as uint8 `[H, W, 3]` RGB.

    Raises:
        MediaError, ShapeError, DtypeError: it cannot be used.
    """
    if isinstance(given, (str, os.PathLike)):
        return read_picture(given)
    if isinstance(given, Image.Image):
        check_size(given.width, given.height, LIMITS.max_picture_pixels, "the picture")
        return upright(given)
    return check_picture(given)


def motion_of(motion: str) -> str:
    """The word, if it is one.

    Raises:
        OptionError: it is not.
    """
    if motion not in MOTIONS:
        raise OptionError(f"motion {motion!r}", " or ".join(MOTIONS), "Check the spelling.")
    return motion


def gain_of(gain: float | None) -> float | None:
    """The number, if it can be one; None stays.

    Raises:
        OptionError: it cannot.
    """
    number = isinstance(gain, (int, float)) and not isinstance(gain, bool) and math.isfinite(gain)
    if gain is not None and not (number and 0 <= gain <= MAX_GAIN):
        raise OptionError(f"gain {gain!r}", f"a number from 0 to {MAX_GAIN:g}")
    return None if gain is None else float(gain)
