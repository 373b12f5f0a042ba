"""Weights files: load, save, convert published checkpoints, look inside. Nothing in here runs code from a file."""

from eamfmeg_fast.weights.conversion import convert
from eamfmeg_fast.weights.inspection import inspect
from eamfmeg_fast.weights.report import PartReport, WeightsInfo, WeightsReport
from eamfmeg_fast.weights.store import PRETRAINED, load_network, pretrained_names, save_network, store_scales
from eamfmeg_fast.weights.stored import StoredWeights

__all__ = [
    "PRETRAINED",
    "PartReport",
    "StoredWeights",
    "WeightsInfo",
    "WeightsReport",
    "convert",
    "inspect",
    "load_network",
    "pretrained_names",
    "save_network",
    "store_scales",
]
