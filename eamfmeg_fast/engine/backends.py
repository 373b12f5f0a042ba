"""Which backend runs, on what device and in what precision, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from eamfmeg_fast.engine.int8 import why_no_int8
from eamfmeg_fast.engine.processor import multiplies_bf16
from eamfmeg_fast.engine.state import Drawn, TargetState
from eamfmeg_fast.errors import BackendError, OptionError
from eamfmeg_fast.kernels.compiled import why_missing
from eamfmeg_fast.network import Keypoints

PRECISIONS: dict[str, tuple[str, ...]] = {
    "reference": ("fp32", "fp64"),
    "cpu": ("fp32", "bf16", "int8"),
    "cuda": ("fp32", "bf16", "fp16"),
}
"""What each backend computes the decoder in; keypoints, Jacobians and flow are float32, or float64 with "fp64"."""

UPDATES = {
    "dense": "every frame is computed",
    "exact": "repeated frames are answered from memory",
    "sparse": "only what moved is decoded again",
}
BACKENDS = tuple(PRECISIONS)
_WORDS = tuple(dict.fromkeys(word for words in PRECISIONS.values() for word in words))


class Backend(Protocol):
    """One way to run a network. Pictures are uint8 `[B, H, W, 3]` RGB of the network's size, on any device."""

    def prepare(self, pictures: Tensor) -> TargetState:
        """All that depends on the targets alone."""

    def detect(self, frames: Tensor) -> Keypoints:
        """Keypoints and Jacobians of the frames, the caller's own."""

    def draw(self, state: TargetState, moved: Keypoints) -> Drawn:
        """The targets of `state` (one, or as many as keypoints) at the moved keypoints; the caller's own."""


@dataclass(frozen=True)
class Plan:
    """What the engine runs on.

    Attributes:
        backend: its name. device: where it computes. dtype: of keypoints, Jacobians and flow.
        decoder: the decoder's precision: "fp32", "fp64", "bf16", "fp16" or "int8".
        update: "dense", "exact" or "sparse".
        reason: one sentence for people.
    """

    backend: str
    device: torch.device
    dtype: torch.dtype
    decoder: str
    update: str
    reason: str


def choose_backend(backend: str = "auto", device: str = "auto", precision: str = "auto", update: str = "exact") -> Plan:
    """The plan for what was asked.

    Raises:
        OptionError: an unknown word, or a precision that the backend does not have. BackendError: it cannot run here.
    """
    _check("backend", backend, BACKENDS)
    _check("precision", precision, _WORDS)
    _check("device", device, ("cpu", "cuda"))
    if update not in UPDATES:
        raise OptionError(f"update {update!r}", ", ".join(UPDATES), "Check the spelling.")
    cuda = torch.cuda.is_available()
    if device == "auto" and (backend == "cpu" or (backend == "auto" and update == "sparse")):
        device = "cpu"
    if device == "cuda" and not cuda:
        raise BackendError("no CUDA device here", "one for device='cuda'", "Use device='cpu'.")
    where = torch.device("cuda" if cuda and device != "cpu" else "cpu")
    name, why = _backend(backend, where, precision)
    if precision not in ("auto", *PRECISIONS[name]):
        raise OptionError(f"precision {precision!r} with backend {name!r}", f"auto, {', '.join(PRECISIONS[name])}")
    if update == "sparse" and name != "cpu":
        raise OptionError(f"update 'sparse' with backend {name!r}", "backend 'cpu'", "Use update='exact'.")
    if update == "sparse" and precision == "int8":
        raise OptionError("update 'sparse' with precision 'int8'", "fp32 or bf16", "Whole maps are convolved in int8.")
    if where.type == "cuda" and update == "exact":
        # There the comparison alone would wait for the device.
        update = "dense"
    decoder, because = _precision(name, precision)
    dtype = torch.float64 if decoder == "fp64" else torch.float32
    return Plan(name, where, dtype, decoder, update, f"{why}; {because}; {UPDATES[update]}")


def _check(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in ("auto", *known):
        raise OptionError(f"{name} {word!r}", f"auto, {', '.join(known)}", "Check the spelling.")


def _backend(asked: str, where: torch.device, precision: str) -> tuple[str, str]:
    lost = why_missing("_C")
    if asked == "cpu" and lost:
        raise BackendError(f"backend 'cpu', but {lost}", "the compiled library", "Use backend='reference'.")
    if asked == "cpu" and where.type != "cpu":
        raise OptionError("backend 'cpu' on a CUDA device", "device='cpu'", "Name one of the two.")
    if asked == "cuda" and where.type != "cuda":
        raise BackendError("backend 'cuda' without a CUDA device", "one", "Use backend='auto'.")
    if asked == "reference" or (asked == "auto" and precision == "fp64"):
        return "reference", f"the reference network on {where}"
    if where.type != "cpu":
        return "cuda", f"cuDNN's convolutions and our kernels on {where}"
    if lost:
        return "reference", f"the reference network on cpu, since {lost}"
    return "cpu", "oneDNN's convolutions and our kernels on cpu"


def _precision(backend: str, asked: str) -> tuple[str, str]:
    if backend == "reference":
        decoder = "fp32" if asked == "auto" else asked
        return decoder, f"everything in {decoder}"
    if backend == "cuda" and asked == "auto":
        if torch.cuda.get_device_capability() >= (7, 0):
            return "fp16", "keypoints and flow in fp32, decoder in fp16, which this device's tensor cores multiply"
        return "fp32", "everything in fp32, since this device has no tensor cores"
    if asked == "int8":
        if lost := why_no_int8():
            raise BackendError(f"precision 'int8', but {lost}", "", "Use precision='auto'.")
        rest = "bf16" if multiplies_bf16() else "fp32"
        return asked, f"keypoints and flow in fp32, residual blocks in int8, the rest of the decoder in {rest}"
    if asked != "auto":
        return asked, f"keypoints and flow in fp32, decoder in {asked}"
    if multiplies_bf16():
        return "bf16", "keypoints and flow in fp32, decoder in bf16, which this processor multiplies twice as fast"
    return "fp32", "everything in fp32, since this processor does not multiply bf16"
