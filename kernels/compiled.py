"""Finds the compiled libraries of csrc/, once, and says why one is missing."""

from __future__ import annotations

import functools
import importlib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from eamfmeg_fast.errors import BackendError
from eamfmeg_fast.kernels.source_hash import source_hash

# Numbers of csrc/common/platform.h.
DTYPE = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.uint8: 3}
PIXEL_GRID = {"corners": 0, "centres": 1}

_CSRC = Path(__file__).resolve().parent.parent / "csrc"
_ASKED = {
    "_C": "the CPU library was not built: no C++ compiler or no pybind11 at install time",
    "_cuda": "the CUDA library was not built: it is made only with EAMFMEG_CUDA=1 and nvcc",
}


@functools.cache
def _load(name: str) -> ModuleType | str:
    try:
        library = importlib.import_module(f"eamfmeg_fast.{name}")
    except ModuleNotFoundError:
        return _ASKED[name]
    except ImportError as error:
        return f"eamfmeg_fast.{name} does not load: {error}"
    if is_stale(library):
        text = f"eamfmeg_fast.{name} is older than csrc/; rebuild: make install"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return library


def is_stale(library: ModuleType) -> bool:
    """Whether a checkout's csrc/ has changed since `library` was built; an installed package has none to compare."""
    return _CSRC.is_dir() and library.build_info()["source_hash"] != source_hash(_CSRC)


def why_missing(name: str) -> str:
    """Why `_C` or `_cuda` cannot be used here, one clause; empty when it can."""
    found = _load(name)
    return found if isinstance(found, str) else ""


def library(name: str) -> ModuleType:
    """The compiled library `_C` or `_cuda`.

    Warns:
        RuntimeWarning: once, when a checkout's csrc/ is newer than the library.

    Raises:
        BackendError: it was not built or does not load.
    """
    found = _load(name)
    if isinstance(found, str):
        raise BackendError(found, "", "Run `eamfmeg doctor`; in a checkout `make install` builds it.")
    return found


def launch(lib: Any, entry: str, device: torch.device, *args: Any) -> None:
    """Call a CUDA entry point, queued on PyTorch's current stream of `device`.

    Args:
        lib: instead of the compiled library; on the CPU it is needed: csrc/ built through its host shim.
        entry: its name in the bindings; the stream is its last argument.
    """
    if device.type == "cpu":
        getattr(lib, entry)(*args, 0)
        return
    with torch.cuda.device(device):
        getattr(lib or library("_cuda"), entry)(*args, torch.cuda.current_stream().cuda_stream)
