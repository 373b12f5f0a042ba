"""identity, the operator that does nothing: the one to copy. CONTRIBUTING.md walks through it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank
from eamfmeg_fast.kernels.identity import native
from eamfmeg_fast.kernels.identity.reference import identity_reference
from eamfmeg_fast.kernels.identity.samples import MUTANTS, network, refusals, samples, sized
from eamfmeg_fast.kernels.registration import cpu_room, cuda_room, register, triton_room
from eamfmeg_fast.kernels.registry import Op

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


_CPU = cpu_room(native.identity_cpu, MUTANTS, _takes)
_CUDA = cuda_room(native.identity_cuda, MUTANTS, _takes)
_TRITON = triton_room("identity", MUTANTS, _takes)

OP = Op(
    name="identity",
    public=identity,
    reference=identity_reference,
    fake=_fake,
    overload=register(
        "identity(Tensor x) -> Tensor",
        reference=identity_reference,
        fake=_fake,
        on_cpu=[_CPU],
        on_cuda=[_TRITON, _CUDA],
    ),
    samples=samples,
    refusals=refusals,
    sized=sized,
    network=network,
    rooms={"cpu": _CPU, "cuda": _CUDA, "triton": _TRITON},
)
