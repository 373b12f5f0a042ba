"""Convolutions through oneDNN with weights packed once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Convolution:
    """A convolution, and ReLU if asked, of channels-last maps.

    Where PyTorch has oneDNN the weights are laid out for the processor once; elsewhere PyTorch's own convolution runs.

    Args:
        weight: `[O, C, k, k]`; bias: `[O]`; float32.
        padding: zeros around the map. relu: applied at the end.
        size: side of the maps that will come; another size works, and may be slower.
        dtype: in which it computes, float32 or bfloat16: also that of the maps it takes and gives.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        padding: int,
        size: int,
        relu: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.padding, self.relu = [padding, padding], "relu" if relu else "none"
        self.bias = bias.to(dtype)
        self._packed = torch.backends.mkldnn.is_available()
        self.weight = weight.to(dtype)
        if self._packed:
            shape = [1, weight.shape[1], size, size]
            # The stub knows fewer arguments than there are.
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self.weight = pack(self.weight.to_mkldnn(), self.padding, [1, 1], [1, 1], 1, shape)

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]`, channels last, to `[B, O, h', w']`, channels last."""
        if self._packed:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, self.relu, [], ""
            )
        out = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return out.relu_() if self.relu == "relu" else out
