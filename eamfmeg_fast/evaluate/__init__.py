"""Metrics: how faithfully a movement was repeated; and what a network's activations measure."""

from eamfmeg_fast.evaluate.calibration import calibrate, measure_scales
from eamfmeg_fast.evaluate.lab import LabScore, score_clip, score_lab, summary

__all__ = ["LabScore", "calibrate", "measure_scales", "score_clip", "score_lab", "summary"]
