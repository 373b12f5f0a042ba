"""Driving clips as the retargeter sees them: square crops or ready keypoints, frame by frame, of any origin."""

from eamfmeg_fast.driving.base import ON_LOST, Driving, DrivingOptions, Shot
from eamfmeg_fast.driving.motion import MotionDriving
from eamfmeg_fast.driving.opening import open_driving
from eamfmeg_fast.driving.pictures import ArrayDriving, ClipDriving

__all__ = [
    "ON_LOST",
    "ArrayDriving",
    "ClipDriving",
    "Driving",
    "DrivingOptions",
    "MotionDriving",
    "Shot",
    "open_driving",
]
