"""An hourglass: convolutions on the way down, fused doubling on the way up."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.config import HourglassConfig
from eamfmeg_fast.engine.cpu.convolution import quickest
from eamfmeg_fast.engine.cpu.upsampling import Upsampling
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.folding import folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.network.layers import to_nchw, to_nhwc


class Hourglass:
    """The hourglass called `name` of a network, float32, for maps of one size.

    The level kept on the way down is copied beside what comes up.

    Attributes:
        free: the buffer of the workspace that its result does not lie in.
    """

    def __init__(
        self, parameters: Parameters, name: str, config: HourglassConfig, size: int, workspace: Workspace
    ) -> None:
        self._workspace, self.free = workspace, _memory(config.num_blocks)
        self._down, self._up = [], []
        for i in range(config.num_blocks):
            block = f"{name}.encoder.down_blocks.{i}"
            kernel = folded(parameters, f"{block}.conv", f"{block}.norm")
            self._down.append(quickest(kernel, 1, size >> i, workspace, _memory(0), relu=True))
        for i in range(config.num_blocks):
            block = f"{name}.decoder.up_blocks.{i}"
            weight, bias = folded(parameters, f"{block}.conv", f"{block}.norm")
            self._up.append(Upsampling(weight, bias))

    def __call__(self, x: Tensor) -> Tensor:
        """`[B, h, w, C]` to `[B, h, w, C']`, in the workspace: it is valid until anything else is computed."""
        levels = [x]
        for convolve in self._down:
            levels.append(to_nhwc(F.avg_pool2d(convolve(to_nchw(levels[-1])), 2)))
        out = levels.pop()
        for i, upsample in enumerate(self._up):
            skip = levels.pop()
            batch, height, width, kept = skip.shape
            channels = upsample.out_channels
            # What comes up is read only by the level above it: two memories take turns, and the decoder has them later.
            joined = self._workspace.buffer(_memory(i), (batch, height, width, channels + kept))
            upsample.into(joined[..., :channels], out)
            joined[..., channels:] = skip
            out = joined
        return out


def _memory(level: int) -> str:
    """The buffer that is written at a level of the way up."""
    return "odd" if level % 2 else "even"
