"""What follows a convolution: bias, residual, ReLU, the next norm, 2x2 means. One pass each on a GPU with Triton."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.network.layers import to_nchw, to_nhwc


def settle(
    x: Tensor,
    bias: Tensor | None,
    *,
    relu: bool = True,
    add: Tensor | None = None,
    out: Tensor | None = None,
    flag: Tensor | None = None,
) -> Tensor:
    """`relu?(x + bias + add)`, computed in float32.

    Args:
        x: `[B, h, w, C]`, contiguous. bias: float32 `[C]`. add: as x.
        out: where to; of the type of x, contiguous or the first channels of a wider map. None: `x` itself.
        flag: int32 `[1]`, becomes 1 where a number before the ReLU does not fit into the type of x; it stays as it is
            otherwise.

    Returns:
        `out`.
    """
    out = x if out is None else out
    if in_triton(x.device.type):
        kernels().settle_triton(x, bias, add, None, out, None, flag, relu)
        return out
    value = _sum(x, bias, add, flag)
    return out.copy_(value.relu() if relu else value)


def settle_and_norm(
    x: Tensor, bias: Tensor | None, add: Tensor | None, norm: tuple[Tensor, Tensor], flag: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`y = x + bias + add`, and `relu(y * scale + shift)` of the y that was not rounded.

    Args:
        x, bias, add, flag: as `settle`; y takes the place of `x`. norm: scale and shift, float32 `[C]`.
    """
    hidden = torch.empty_like(x)
    same = bias is None and add is None
    if in_triton(x.device.type):
        kernels().settle_triton(x, bias, add, norm, None if same else x, hidden, flag, False)
        return x, hidden
    value = _sum(x, bias, add, flag)
    normed = value * norm[0] + norm[1]
    _tell(normed, x.dtype, flag)
    if not same:
        x.copy_(value)
    return x, hidden.copy_(normed.relu())


def pooled(x: Tensor, bias: Tensor) -> Tensor:
    """Means over 2x2 of `relu(x + bias)`, float32 `[B, h, w, C]` to `[B, h / 2, w / 2, C]`, contiguous."""
    if in_triton(x.device.type):
        out = x.new_empty(x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
        kernels().pool_triton(out, x, bias)
        return out
    return to_nhwc(F.avg_pool2d(to_nchw((x + bias).relu_()), 2)).contiguous()


def _sum(x: Tensor, bias: Tensor | None, add: Tensor | None, flag: Tensor | None) -> Tensor:
    value = x.float()
    value = value if bias is None else value + bias
    value = value if add is None else value + add
    _tell(value, x.dtype, flag)
    return value


def _tell(value: Tensor, dtype: torch.dtype, flag: Tensor | None) -> None:
    if flag is not None:
        fits = (value.abs() <= torch.finfo(dtype).max).all()
        flag.copy_(torch.maximum(flag, (~fits).int()))


@cache
def in_triton(device: str) -> bool:
    """Whether Triton's kernels take tensors of that kind of device."""
    if device == "meta":
        return False
    try:
        build = importlib.import_module("eamfmeg_fast.kernels.triton_build")
    except ImportError:
        return False
    return bool(build.interpreting() if device == "cpu" else not build.why_not_running())


@cache
def kernels() -> Any:
    """The module with the kernels; only where `in_triton`."""
    return importlib.import_module("eamfmeg_fast.engine.cuda.triton_kernel")
