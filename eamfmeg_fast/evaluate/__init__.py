"""Metrics: how faithfully a movement was repeated."""

from eamfmeg_fast.evaluate.lab import LabScore, score_clip, score_lab, summary

__all__ = ["LabScore", "score_clip", "score_lab", "summary"]
