"""Which backend runs, on what device and in what precision, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from eamfmeg_fast.errors import BackendError, OptionError

P = ParamSpec("P")
R = TypeVar("R")
BACKENDS = ("reference",)
PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True)
class Plan:
    """What the engine runs on.

    Attributes:
        backend: its name. device, dtype: where and in what type it computes. reason: one sentence for people.
    """

    backend: str
    device: torch.device
    dtype: torch.dtype
    reason: str


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` without gradients and without TF32: its ten bits would move keypoints by more than the signal."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return function(*args, **kwargs)

    return wrapped


def choose_backend(backend: str = "auto", device: str = "auto", precision: str = "auto") -> Plan:
    """The plan for what was asked.

    Raises:
        OptionError: an unknown word. BackendError: a device that is not here.
    """
    if backend not in ("auto", *BACKENDS):
        raise OptionError(f"backend {backend!r}", f"auto, {', '.join(BACKENDS)}", "Check the spelling.")
    if precision not in ("auto", *PRECISIONS):
        raise OptionError(f"precision {precision!r}", f"auto, {', '.join(PRECISIONS)}", "Check the spelling.")
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"device {device!r}", "auto, cpu or cuda", "Check the spelling.")
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise BackendError("no CUDA device here", "one for device='cuda'", "Use device='cpu'.")
    where = torch.device("cuda" if cuda and device != "cpu" else "cpu")
    dtype = PRECISIONS["fp32" if precision == "auto" else precision]
    reason = f"the reference network in {str(dtype).removeprefix('torch.')} on {where}"
    return Plan("reference", where, dtype, reason)
