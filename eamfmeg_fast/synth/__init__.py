"""Labelled sets of micro-expression clips: of faces that never lived, or of one photograph."""

from eamfmeg_fast.synth.options import CASME_COLUMNS, LAYOUTS, TRUTHS, SynthClip, SynthOptions
from eamfmeg_fast.synth.sets import synthesise

__all__ = ["CASME_COLUMNS", "LAYOUTS", "TRUTHS", "SynthClip", "SynthOptions", "synthesise"]
