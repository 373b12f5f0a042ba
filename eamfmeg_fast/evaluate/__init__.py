"""Metrics: how faithfully a movement was repeated; and what a network's activations measure."""

from eamfmeg_fast.evaluate.calibration import calibrate, measure_scales
from eamfmeg_fast.evaluate.figures import FIGURES, Figure, lines
from eamfmeg_fast.evaluate.lab import LabScore, score_clip, score_lab, score_person, summary
from eamfmeg_fast.evaluate.record import append_row, check_place, circumstances

__all__ = [
    "FIGURES",
    "Figure",
    "LabScore",
    "append_row",
    "calibrate",
    "check_place",
    "circumstances",
    "lines",
    "measure_scales",
    "score_clip",
    "score_lab",
    "score_person",
    "summary",
]
