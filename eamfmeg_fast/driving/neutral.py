"""The neutral driving face: from one frame, or steadied over the still beginning of a clip."""

from __future__ import annotations

from collections.abc import Iterable

from eamfmeg_fast.network import Keypoints

OPENING_S, MAX_OPENING = 0.1, 32
"""How long a face is taken to be at rest at the beginning of a clip, and the most frames that are looked at."""
_STILL_PX = 0.5
_PX = 128.0


def steadied(found: Iterable[Keypoints]) -> Keypoints:
    """The mean of keypoints and Jacobians for as long as the face holds still.

    Noise of the one frame that motion is measured from is laid over every other frame; the mean has less of it. It ends
    before the first frame in which the keypoints are, root mean square, half a pixel (of 256) away from the mean so
    far. The mean of equal frames is that frame to the last bit.

    Args:
        found: of the frames in order; at least one.
    """
    frames = iter(found)
    mean = next(frames)
    for count, points in enumerate(frames, 2):
        away = points.kp - mean.kp
        if float(away.square().sum(-1).mean().sqrt()) * _PX > _STILL_PX:
            break
        mean = Keypoints(*(part + (new - part) / count for part, new in zip(mean, points, strict=True)))
    return mean
