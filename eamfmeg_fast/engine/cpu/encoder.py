"""What is computed once for a target: its features, and the maps that the attention gathers from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.engine.cpu.convolution import Convolution
from eamfmeg_fast.engine.cpu.workspace import give_back
from eamfmeg_fast.engine.folding import folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import Projections
from eamfmeg_fast.network.layers import to_nchw, to_nhwc

_STRIP = 16
"""Rows of features that are computed at a time."""
_REACH = 2
"""Rows of features beyond a strip that it sees: 3 after the first convolution, then (3 + 1) / 2, (2 + 1) / 2..."""


class Encoder:
    """The generator's way down, float32."""

    def __init__(self, parameters: Parameters) -> None:
        self.config = config = parameters.config
        weight, bias = folded(parameters, "generator.first.conv", "generator.first.norm")
        self._first = Convolution(weight, bias, padding=3, relu=True, size=config.size)
        self._down = []
        for i in range(config.down_blocks):
            name = f"generator.down_blocks.{i}"
            weight, bias = folded(parameters, f"{name}.conv", f"{name}.norm")
            self._down.append(Convolution(weight, bias, padding=1, relu=True, size=config.size >> i))
        self._projections: dict[str, Convolution] = {}
        if config.attention:
            names = ("query", "key", "value") if config.attention == "released" else ("key", "value")
            for name in names:
                weight = parameters.tensor(f"attention_module.{name}_conv.weight")
                no_bias = weight.new_zeros(weight.shape[0])
                self._projections[name] = Convolution(weight, no_bias, padding=0, size=config.map_size)

    def encode(self, picture: Tensor) -> Tensor:
        """Features `[B, h, w, C]` of `[B, H, W, 3]` in [0, 1].

        In strips: the first maps of a whole picture would be the largest memory that the engine ever needs.
        """
        scale = 2**self.config.down_blocks
        height, strips = picture.shape[1] // scale, []
        for top in range(0, height, _STRIP):
            strips.append(self._strip(picture, top, min(top + _STRIP, height), scale))
            give_back()
        return strips[0] if len(strips) == 1 else torch.cat(strips, dim=1)

    def _strip(self, picture: Tensor, top: int, bottom: int, scale: int) -> Tensor:
        """Rows `top` to `bottom` of the features, from the rows of the picture that they see."""
        first = max(top - _REACH, 0)
        out = self._first(to_nchw(picture[:, first * scale : (bottom + _REACH) * scale]))
        for convolve in self._down:
            out = F.avg_pool2d(convolve(out), 2)
        return to_nhwc(out)[:, top - first : bottom - first].contiguous()

    def project(self, features: Tensor) -> Projections | None:
        """The maps that the attention gathers from; None for a preset without attention."""
        if not self._projections:
            return None
        maps = {name: to_nhwc(convolve(to_nchw(features))) for name, convolve in self._projections.items()}
        return Projections(maps.get("query"), maps["key"], maps["value"])
