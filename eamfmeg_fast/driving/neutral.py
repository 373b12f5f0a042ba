"""The neutral driving face: from one frame, or steadied over the still beginning of a clip."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import torch
from torch import Tensor

from eamfmeg_fast.network import Keypoints

OPENING_S, MAX_OPENING = Fraction(1, 10), 32
"""How long a face is taken to be at rest at the beginning of a clip, and the most frames that are looked at."""
_GONE_PX, _DRIFT_PX = 0.15, 0.1
_PX = 128.0
_PARTS = 4


def steadied(found: Iterable[Keypoints]) -> tuple[Keypoints, int]:
    """The mean of keypoints and Jacobians for as long as the whole face holds still, and of how many frames it is.

    Noise of the one frame that motion is measured from is laid over every other frame; the mean has less of it. But a
    mean over frames that move takes their movement out of every other frame, so any doubt ends it: `still_frames`. The
    mean of equal frames is that frame to the last bit.

    Args:
        found: of the frames in order; at least one, and all that are to be looked at.
    """
    frames = list(found)
    count = still_frames(torch.cat([points.kp.detach().cpu() for points in frames]))
    mean = frames[0]
    for number, points in enumerate(frames[1:count], 2):
        mean = Keypoints(*(part + (new - part) / number for part, new in zip(mean, points, strict=True)))
    return mean, count


def still_frames(kp: Tensor) -> int:
    """How many of the first frames no keypoint moves in; at least 1.

    Means over a quarter of the frames are compared, since single frames are noisy (at 25 frames per second a quarter of
    the opening is one frame, and nothing hides the noise). The face moves from where the mean that begins there has any
    keypoint more than 0.15 px (at 256 px) away from the first quarter's; if that is within the first quarter, only the
    first frame is still. A keypoint that until there goes the same way from quarter to quarter, 0.1 px in all, leaves
    the first quarter.

    Args:
        kp: `[T, K, 2]`.
    """
    size = -(-len(kp) // _PARTS)
    means = (kp.double() * _PX).unfold(0, size, 1).mean(-1)
    gone = ((means - means[0]).norm(dim=-1).amax(1) > _GONE_PX).tolist()
    begin = gone.index(True) if True in gone else len(kp)
    if begin < size:
        return 1
    quarters = means[: begin - size + 1 : size]
    way = quarters[-1] - quarters[0]
    onward = ((quarters.diff(dim=0) * way).sum(-1) > 0).all(0)
    return min(begin, size) if bool((onward & (way.norm(dim=-1) > _DRIFT_PX)).any()) else begin
