"""upsample_conv through csrc/: from tensors to addresses, and the kernels' packed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendError, ShapeError
from eamfmeg_fast.kernels.checks import check_dtype, describe
from eamfmeg_fast.kernels.compiled import DTYPE, library

# Numbers of csrc/upsample_conv/upsample_conv.h.
_PRODUCTS = 9
_PANEL = 32
_TYPES = (torch.float16, torch.bfloat16, torch.float32)


def pack_phases(weight: Tensor, lib: Any = None) -> Tensor:
    """The kernels as the CPU room reads them: nine sums of each, as float32, in panels of output channels.

    The layout is private to the room and the same for every processor. An engine packs once and hands the result to
    `upsample_conv_cpu` with the unchanged `weight`; about as many numbers, rounded up to 32 output channels.

    Args:
        weight: `[O, C, 3, 3]`, float16, bfloat16 or float32, any strides, on the CPU.
        lib: replaces the compiled library (planted faults).

    Returns:
        One axis, float32, on a 64-byte boundary.

    Raises:
        ShapeError: another shape, or an empty axis.
        DtypeError: another type.
        BackendError: `weight` is not on the CPU.
    """
    if weight.ndim != 4 or tuple(weight.shape[2:]) != (3, 3) or weight.numel() == 0:
        raise ShapeError(f"weight is {describe(weight)}", "[O, C, 3, 3], nothing empty", "Pass the convolution's own.")
    check_dtype("weight", weight, _TYPES)
    if weight.device.type != "cpu":
        raise BackendError(f"weight is on {weight.device}", "the CPU", "Kernels are packed there: pass weight.cpu().")
    outer, inner = weight.shape[:2]
    panels = -(-outer // _PANEL)
    # A process may have chosen another default type or device.
    packed = torch.empty(panels * _PRODUCTS * inner * _PANEL, dtype=torch.float32, device="cpu")
    compiled = lib or library("_C")
    compiled.upsample_conv_pack_cpu(
        packed.data_ptr(), weight.data_ptr(), outer, inner, *weight.stride(), DTYPE[weight.dtype]
    )
    return packed


def upsample_conv_cpu(
    out: Tensor, features: Tensor, weight: Tensor, bias: Tensor | None, lib: Any = None, packed: Tensor | None = None
) -> None:
    """Write the result into the contiguous `out`, on the CPU.

    Args:
        out: `[B, 2 H, 2 W, O]`; features: `[B, H, W, C]`; weight: `[O, C, 3, 3]`; bias: `[O]` or None; one type.
        lib: replaces the compiled library (planted faults).
        packed: `pack_phases(weight)`; without it the kernels are packed in this call.
    """
    if packed is None:
        packed = pack_phases(weight, lib)
    (lib or library("_C")).upsample_conv_cpu(
        out.data_ptr(),
        features.data_ptr(),
        *features.shape,
        *features.stride(),
        packed.data_ptr(),
        weight.data_ptr(),
        weight.shape[0],
        *weight.stride(),
        0 if bias is None else bias.data_ptr(),
        0 if bias is None else bias.stride(0),
        DTYPE[features.dtype],
    )
