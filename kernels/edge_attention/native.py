"""edge_attention through csrc/: from tensors to addresses, and nothing more."""

from __future__ import annotations

from array import array
from typing import Any

from torch import Tensor

from eamfmeg_fast.kernels.compiled import DTYPE, launch, library

# Numbers of csrc/edge_attention/edge_attention.h.
_MODE = {"released": 0, "edge-query": 1}


class _Call:
    """The arguments of an entry point; holds what they point to for as long as it lives."""

    def __init__(self, out: Tensor, *args: Any) -> None:
        maps = [None if x is None else _channels_dense(x) for x in args[:4]]
        small = [x.contiguous() for x in args[4:12]]
        strip_rows, mode, align_corners = args[12:]
        strides = array("q", [step for x in maps for step in ((0, 0, 0) if x is None else x.stride()[:3])])
        self.kept = maps, small, strides
        pointers = [0 if x is None else x.data_ptr() for x in (*maps, *small)]
        n, from_h, from_w, dim = args[1].shape
        sizes = (n, from_h, from_w, *out.shape[1:3], dim, out.shape[3])
        rest = (strides.buffer_info()[0], strip_rows, _MODE[mode], int(align_corners), DTYPE[out.dtype])
        self.arguments = (out.data_ptr(), *pointers, *sizes, *rest)


def edge_attention_cpu(out: Tensor, *args: Any, lib: Any = None) -> None:
    """Attend into the contiguous `out` on the CPU; `lib` replaces the compiled library (planted faults).

    Args:
        out: `[B, h, w, C]` in the type of the maps: float32, float16 or bfloat16.
        args: those of `edge_attention`, all of them.
    """
    call = _Call(out, *args)
    (lib or library("_C")).edge_attention_cpu(*call.arguments)


def edge_attention_cuda(out: Tensor, *args: Any, lib: Any = None) -> None:
    """Attend into the contiguous `out` on its CUDA device; arguments as of `edge_attention_cpu`."""
    call = _Call(out, *args)
    launch(lib, "edge_attention_cuda", out.device, *call.arguments)


def _channels_dense(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 or x.shape[3] <= 1 else x.contiguous()
