"""identity, the operator that does nothing: the one to copy. CONTRIBUTING.md walks through it."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank
from eamfmeg_fast.kernels.compiled import why_missing
from eamfmeg_fast.kernels.identity import native
from eamfmeg_fast.kernels.identity.reference import identity_reference
from eamfmeg_fast.kernels.identity.samples import MUTANTS, refusals, samples
from eamfmeg_fast.kernels.registry import Op, Room

__all__ = ["OP", "identity"]


def identity(x: Tensor) -> Tensor:
    """Copy `x` into fresh, contiguous memory.

    Args:
        x: `[B, H, W, C]` or `[H, W, C]`, uint8, float16, bfloat16, float32 or float64, any strides.

    Returns:
        The same values, shape, type and device; contiguous. Differentiable.

    Raises:
        ShapeError: another number of axes.
        DtypeError: another type.
    """
    check_rank("x", x, "BHWC", "HWC")
    check_dtype("x", x, (*FLOATS, torch.uint8))
    return torch.ops.eamfmeg.identity(x)


def _on_cpu(x: Tensor) -> Tensor:
    if why_missing("_C"):
        return identity_reference(x)
    out = _fake(x)
    native.identity_cpu(out, x)
    return out


def _on_cuda(x: Tensor) -> Tensor:
    out = _fake(x)
    _triton().identity_triton(out, x)
    return out


def _fake(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _triton() -> Any:
    # Imported on first use: a machine without Triton still has the other rooms.
    return importlib.import_module("eamfmeg_fast.kernels.identity.triton_kernel")


def _triton_missing() -> str:
    try:
        return _triton().missing()
    except ImportError as error:
        return f"triton does not import: {error}"


def _cuda_missing() -> str:
    return why_missing("_cuda") or ("" if torch.cuda.is_available() else "no CUDA device")


# Library.impl costs half of what torch.library.custom_op does on each call.
_library = torch.library.Library("eamfmeg", "FRAGMENT")
_library.define("identity(Tensor x) -> Tensor")
_library.impl("identity", _on_cpu, "CPU")
_library.impl("identity", _on_cuda, "CUDA")
torch.library.register_fake("eamfmeg::identity", _fake, lib=_library)
torch.library.register_autograd("eamfmeg::identity", lambda context, grad: identity(grad), lib=_library)

OP = Op(
    name="identity",
    public=identity,
    reference=identity_reference,
    overload=lambda: torch.ops.eamfmeg.identity.default,
    samples=samples,
    refusals=refusals,
    rooms={
        "cpu": Room("cpu", lambda: why_missing("_C"), native.identity_cpu, MUTANTS),
        "cuda": Room("cuda", _cuda_missing, native.identity_cuda, MUTANTS),
        "triton": Room("triton", _triton_missing, lambda *a, **k: _triton().identity_triton(*a, **k), MUTANTS),
    },
)
