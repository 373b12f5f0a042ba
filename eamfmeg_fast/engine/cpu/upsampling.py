"""An up block of the network: nearest x2, 3x3 convolution with its batch norm inside, ReLU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.engine.cpu.convolution import Convolution
from eamfmeg_fast.kernels.upsample_conv.native import pack_phases, upsample_conv_cpu
from eamfmeg_fast.network.layers import to_nchw, to_nhwc

_FUSED_FROM = 16
"""Input side from which nine products beat the doubled map: below it the weights' way from memory is all there is."""


class Upsampling:
    """One up block for maps of one size.

    Args:
        weight: `[O, C, 3, 3]`; bias: `[O]`; float32, batch norm folded in.
        size: side of the maps that come in.
        products: "float32" or "bfloat16": what is multiplied; sums are float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, size: int, products: str = "float32") -> None:
        self.out_channels = weight.shape[0]
        self._doubled: Convolution | None = None
        if size < _FUSED_FROM and products == "float32":
            self._doubled = Convolution(weight, bias, padding=1, size=2 * size, relu=True)
            return
        # Only its shape and strides are read where the features are finite; an expanded zero stands for the rest.
        self._weight, self._bias = weight, bias
        self._packed = pack_phases(weight, products=products)

    def into(self, out: Tensor, x: Tensor, tiles: Tensor | None = None, tile: int = 0) -> None:
        """Write `[B, 2 h, 2 w, O]`, contiguous or the first channels of a wider map, from `[B, h, w, C]`."""
        if self._doubled is not None:
            out.copy_(to_nhwc(self._doubled(F.interpolate(to_nchw(x), scale_factor=2.0))))
            return
        upsample_conv_cpu(
            out, x, self._weight, self._bias, packed=self._packed, relu=True, tiles=tiles, tile=tile or x.shape[1]
        )
