"""An up block of the network: nearest x2, 3x3 convolution with its batch norm inside, ReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.kernels.upsample_conv.native import pack_phases, upsample_conv_cpu


class Upsampling:
    """One up block.

    Args:
        weight: `[O, C, 3, 3]`; bias: `[O]`; float32, batch norm folded in.
        products: "float32" or "bfloat16": what is multiplied; sums are float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, products: str = "float32") -> None:
        self.out_channels = weight.shape[0]
        self._packed, self._bias = pack_phases(weight, products), bias
        # Only its shape is read: the weights themselves are not kept beside their packed form.
        self._shape = torch.zeros(1, 1, 1, 1).expand(weight.shape)

    def into(self, out: Tensor, x: Tensor, tiles: Tensor | None = None, tile: int = 0) -> None:
        """Write `[B, 2 h, 2 w, O]`, contiguous or the first channels of a wider map, from `[B, h, w, C]`."""
        part: dict[str, Any] = {"tiles": tiles, "tile": tile}
        upsample_conv_cpu(out, x, self._shape, self._bias, packed=self._packed, relu=True, repair=False, **part)
