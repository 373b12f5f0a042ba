"""Repeats the micro-expression of a driving clip on a target face, frame by frame."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eamfmeg_fast.errors import (
    BackendError,
    DtypeError,
    EamfmegError,
    FaceError,
    InputError,
    MediaError,
    OptionError,
    PartialError,
    ShapeError,
    WeightsError,
)

if TYPE_CHECKING:
    from eamfmeg_fast.engine import TargetState
    from eamfmeg_fast.retargeter import Retargeter

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "DtypeError",
    "EamfmegError",
    "FaceError",
    "InputError",
    "MediaError",
    "OptionError",
    "PartialError",
    "Retargeter",
    "ShapeError",
    "TargetState",
    "WeightsError",
    "__version__",
]

_here = Path(__file__).parent
if not (_here / "kernels").is_dir():
    # A source checkout keeps kernels/ and export/ beside this package; an installed one has them inside.
    __path__.append(str(_here.parent))

# These load on first use, because their rooms import torch and importing the package must cost nothing.
_LAZY = {"Retargeter": "eamfmeg_fast.retargeter", "TargetState": "eamfmeg_fast.engine"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'eamfmeg_fast' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
