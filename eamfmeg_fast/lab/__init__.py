"""The micro-expression laboratory: faces nobody has, moved by action units, with the motion known exactly."""

from eamfmeg_fast.lab.action_units import ACTION_UNITS, EMOTIONS
from eamfmeg_fast.lab.anatomy import LANDMARKS
from eamfmeg_fast.lab.clip import LabClip, lab_clip
from eamfmeg_fast.lab.pairs import LabPairs, sample_pairs
from eamfmeg_fast.lab.seeds import HELD_OUT_SEEDS, TRAIN_SEEDS

__all__ = [
    "ACTION_UNITS",
    "EMOTIONS",
    "HELD_OUT_SEEDS",
    "LANDMARKS",
    "TRAIN_SEEDS",
    "LabClip",
    "LabPairs",
    "lab_clip",
    "sample_pairs",
]
