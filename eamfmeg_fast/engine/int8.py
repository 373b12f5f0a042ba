"""Convolutions of bytes through oneDNN, and whether they run here."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from eamfmeg_fast.engine.processor import multiplies_int8

_ONE, _NONE = [1, 1], "none"


class Int8Convolution:
    """A 3x3 convolution with zero padding 1: inputs of 8 bits without a sign, weights of 8 bits with one, sums of 32.

    Args:
        weight: `[O, C, 3, 3]`; bias: `[O]`; float32. Every output channel is quantised with a step of its own.
        step: what 1 stands for in the input.
        size: side of the maps that will come; another size works, and may be slower.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, step: float, size: int) -> None:
        largest = weight.abs().amax(dim=(1, 2, 3))
        # A channel of zeros has no step of its own.
        self._scale = torch.where(largest > 0, largest / 127, torch.ones(()))
        self._zero = torch.zeros(weight.shape[0], dtype=torch.int64)
        levels = (weight / self._scale[:, None, None, None]).round().to(torch.int8)
        shape = [1, weight.shape[1], size, size]
        self._step, self._bias = step, bias
        self._packed = torch.ops.onednn.qconv_prepack(levels, self._scale, step, 0, _ONE, _ONE, _ONE, 1, shape)

    def to_bytes(self, x: Tensor, step: float) -> Tensor:
        """ReLU and steps of `step`, ties to even: uint8 `[B, C, h, w]` to uint8 `[B, O, h, w]`, channels last both."""
        return torch.ops.onednn.qconv2d_pointwise(
            x, self._step, 0, self._packed, self._scale, self._zero, self._bias,
            _ONE, _ONE, _ONE, 1, step, 0, torch.uint8, "relu", [], "",
        )  # fmt: skip

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add the result for uint8 `[B, C, h, w]` to float32 `[B, O, h, w]`, channels last both."""
        # What the operator returns is the same once more: the sum is made in place, which `why_no_int8` tries.
        torch.ops.onednn.qconv2d_pointwise.binary(
            x, self._step, 0, self._packed, self._scale, self._zero, total, self._bias,
            _ONE, _ONE, _ONE, 1, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, _NONE, [], "",
        )  # fmt: skip


@cache
def why_no_int8() -> str:
    """Why these convolutions do not run here, one clause; empty when they do.

    One is tried with numbers as large as they come: older instructions add pairs of products in 16 bits, which
    overflow, and PyTorch promises nothing about its operators for them.
    """
    if not multiplies_int8():
        return "this processor has no instructions for products of bytes"
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    channels, side = 32, 4
    x = torch.full((1, side, side, channels), 255, dtype=torch.uint8).permute(0, 3, 1, 2)
    total = torch.ones(1, side, side, channels).permute(0, 3, 1, 2)
    try:
        convolve = Int8Convolution(
            torch.full((channels, channels, 3, 3), 127.0), torch.zeros(channels), step=1.0, size=side
        )
        convolve.add_to(total, x)
        short = convolve.to_bytes(x, 9.0 * channels * 127)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"PyTorch {torch.__version__} does not convolve bytes through oneDNN ({type(error).__name__})"
    exact = float(total[0, 0, 1, 1]) == 9 * channels * 127 * 255 + 1 and int(short[0, 0, 1, 1]) == 255
    return "" if exact else f"oneDNN's convolution of bytes gives wrong sums here (PyTorch {torch.__version__})"
