"""identity, the operator that does nothing: the one to copy. CONTRIBUTING.md walks through it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank
from eamfmeg_fast.kernels.identity import native, samples
from eamfmeg_fast.kernels.identity.reference import identity_reference
from eamfmeg_fast.kernels.registration import operator

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


def _fake(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _takes(x: Tensor) -> bool:
    return True


OP = operator(
    "identity(Tensor x) -> Tensor",
    public=identity,
    reference=identity_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.identity_cpu,
    cuda=native.identity_cuda,
)
