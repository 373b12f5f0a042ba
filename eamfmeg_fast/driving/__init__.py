"""Driving clips as the retargeter sees them: square crops or ready keypoints, frame by frame, of any origin."""

from eamfmeg_fast.driving.base import ON_LOST, SMOOTHING, Driving, DrivingOptions, Shot
from eamfmeg_fast.driving.motion import MotionDriving
from eamfmeg_fast.driving.opening import open_driving
from eamfmeg_fast.driving.pictures import ArrayDriving, ClipDriving
from eamfmeg_fast.driving.smoothing import OneEuro, smoothed

__all__ = [
    "ON_LOST",
    "SMOOTHING",
    "ArrayDriving",
    "ClipDriving",
    "Driving",
    "DrivingOptions",
    "MotionDriving",
    "OneEuro",
    "Shot",
    "open_driving",
    "smoothed",
]
