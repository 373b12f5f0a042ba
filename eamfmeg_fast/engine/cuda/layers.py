"""Convolutions through cuDNN, channels last, with weights laid out once."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.config import HourglassConfig
from eamfmeg_fast.engine.cuda.pointwise import in_triton, pooled, settle
from eamfmeg_fast.engine.cuda.tuning import Tuner
from eamfmeg_fast.engine.folding import folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.kernels.registry import operators
from eamfmeg_fast.network.layers import to_nchw, to_nhwc

_FOLDED_FROM = 16
"""Input side from which four phases are worth a try: below it their larger weights cost more than they save."""


@dataclass(frozen=True)
class Place:
    """Where and in what type a layer computes, and what chooses its ways."""

    device: torch.device
    dtype: torch.dtype
    tuner: Tuner


class Convolution:
    """A convolution of channels-last maps; its bias is for whoever settles the result.

    Args:
        weight: `[O, C, k, k]`; bias: `[O]`; float32.
        padding: zeros around the map.

    Attributes:
        fits: whether all weights are within what the type holds.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, padding: int, place: Place) -> None:
        self.padding = padding
        self.fits = bool((weight.abs() <= torch.finfo(place.dtype).max).all())
        self.weight = weight.to(place.device, place.dtype).contiguous(memory_format=torch.channels_last)
        self.bias = bias.to(place.device, torch.float32).clone()

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, h, w, C]` to `[B, h', w', O]`, contiguous, without the bias."""
        return to_nhwc(F.conv2d(to_nchw(x), self.weight, None, padding=self.padding)).contiguous()


class Upsampling:
    """An up block's doubling and convolution: on the doubled map, or as four phases where that is faster.

    Args:
        name: of the block, for the tuner. weight, bias: batch norm folded in.
    """

    def __init__(self, name: str, weight: Tensor, bias: Tensor, place: Place) -> None:
        self.out_channels = weight.shape[0]
        self._name, self._tuner = name, place.tuner
        self._convolution = Convolution(weight, bias, padding=1, place=place)
        # Kernels of the phases are summed from what was not rounded.
        self._exact = weight.to(place.device, torch.float32).clone()
        self._folded: Tensor | None = None
        self.bias, self.fits = self._convolution.bias, self._convolution.fits

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, h, w, C]` to `[B, 2 h, 2 w, O]`, contiguous, without the bias."""
        kind = x.device.type
        if x.shape[1] < _FOLDED_FROM or (kind == "cuda" and not in_triton(kind)):
            return self._doubled(x)
        ways = {"doubled": lambda: self._doubled(x), "phases": lambda: self._phases(x)}
        return ways[self._tuner.choose(f"{self._name} {list(x.shape)} {x.dtype}", ways)]()

    def _doubled(self, x: Tensor) -> Tensor:
        return self._convolution(to_nhwc(F.interpolate(to_nchw(x), scale_factor=2.0, mode="nearest")))

    def _phases(self, x: Tensor) -> Tensor:
        if x.device.type != "cuda":
            return torch.ops.eamfmeg.upsample_conv(x, self._exact.to(x.dtype), None)
        if self._folded is None:
            fold = importlib.import_module("eamfmeg_fast.kernels.upsample_conv.triton_kernel").fold_phases
            self._folded = fold(self._exact).to(x.dtype)
        out = x.new_empty(x.shape[0], 2 * x.shape[1], 2 * x.shape[2], self.out_channels)
        operators()["upsample_conv"].rooms["triton"].into(out, x, self._exact, None, folded=self._folded)
        return out


class Hourglass:
    """The hourglass called `name` of a network; float32."""

    def __init__(self, parameters: Parameters, name: str, config: HourglassConfig, place: Place) -> None:
        self._down, self._up = [], []
        for i in range(config.num_blocks):
            block = f"{name}.encoder.down_blocks.{i}"
            weight, bias = folded(parameters, f"{block}.conv", f"{block}.norm")
            self._down.append(Convolution(weight, bias, padding=1, place=place))
        for i in range(config.num_blocks):
            block = f"{name}.decoder.up_blocks.{i}"
            weight, bias = folded(parameters, f"{block}.conv", f"{block}.norm")
            self._up.append(Upsampling(block, weight, bias, place))

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, h, w, C]` to `[B, h, w, C']`, contiguous."""
        levels = [x]
        for convolve in self._down:
            levels.append(pooled(convolve(levels[-1]), convolve.bias))
        out = levels.pop()
        for upsample in self._up:
            skip = levels.pop()
            channels = upsample.out_channels
            joined = out.new_empty(*skip.shape[:3], channels + skip.shape[3])
            settle(upsample(out), upsample.bias, out=joined[..., :channels])
            joined[..., channels:].copy_(skip)
            out = joined
        return out
