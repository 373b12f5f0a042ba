"""Convolutions with weights packed once: through oneDNN, or ours where those are quicker."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.kernels.conv3x3.native import conv3x3_cpu, pack_conv3x3, scratch_floats
from eamfmeg_fast.network.layers import to_nchw, to_nhwc

MOST_SCRATCH = 1 << 20
"""Floats for the tiles that a 3x3 convolution works on at a time: more of them gain nothing."""
_MOST_PACKED = 20 << 20
"""Bytes of a packed 3x3 kernel, four times the plain one's: of wider layers the memory would be worth more."""


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


class Winograd:
    """A 3x3 convolution with padding 1, and ReLU if asked, of float32 channels-last maps.

    Args:
        weight: `[O, C, 3, 3]`; bias: `[O]`; float32. relu: applied at the end.
        workspace, memory: where it works: a buffer that holds neither its input nor what is still needed.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, workspace: Workspace, memory: str, relu: bool = False) -> None:
        self.bias, self.relu, self._workspace, self._memory = bias, relu, workspace, memory
        self._packed = pack_conv3x3(weight, "float32")
        # Only its shape is read where the packed form is given.
        self._shape = torch.zeros(1, 1, 1, 1).expand(weight.shape)

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]`, channels last, to `[B, O, h, w]`, channels last."""
        maps, outer = to_nhwc(x), self._shape.shape[0]
        batch, height, width, inner = maps.shape
        floats = min(scratch_floats((batch, height, width), inner, outer), MOST_SCRATCH)
        scratch = self._workspace.buffer(self._memory, (floats,))
        out = torch.empty(batch, height, width, outer)
        kernel = self._shape, self.bias, None, None, None
        conv3x3_cpu(out, maps, *kernel, self.relu, "float32", packed=self._packed, scratch=scratch)
        return to_nchw(out)


def quickest(
    kernel: tuple[Tensor, Tensor], padding: int, size: int, workspace: Workspace, memory: str, *, relu: bool = False
) -> Convolution | Winograd:
    """`Winograd` for 3x3 kernels that are not too wide, else `Convolution`; `kernel` is weight and bias."""
    weight, bias = kernel
    packed = 4 * 36 * weight.shape[0] * weight.shape[1]
    if tuple(weight.shape[2:]) == (3, 3) and padding == 1 and packed <= _MOST_PACKED:
        return Winograd(weight, bias, workspace=workspace, memory=memory, relu=relu)
    return Convolution(weight, bias, padding=padding, size=size, relu=relu)
