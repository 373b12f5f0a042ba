"""Target state, frame step and backends."""

from eamfmeg_fast.engine.backends import BACKENDS, PRECISIONS, Plan, choose_backend
from eamfmeg_fast.engine.engine import Engine
from eamfmeg_fast.engine.parameters import Adjusted, NetworkParameters, Parameters
from eamfmeg_fast.engine.state import FrameResult, TargetState
from eamfmeg_fast.engine.threads import use_threads

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Adjusted",
    "Engine",
    "FrameResult",
    "NetworkParameters",
    "Parameters",
    "Plan",
    "TargetState",
    "choose_backend",
    "use_threads",
]
