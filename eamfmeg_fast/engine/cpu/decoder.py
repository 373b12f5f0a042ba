"""From the target's features and a motion to the picture: warp, attention, residual blocks, up blocks, head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.engine.cpu.convolution import MOST_SCRATCH
from eamfmeg_fast.engine.cpu.front import Motion
from eamfmeg_fast.engine.cpu.upsampling import Upsampling
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.folding import affine_of_norm, folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.errors import InputError
from eamfmeg_fast.kernels.compose.native import compose_cpu
from eamfmeg_fast.kernels.conv3x3.native import conv3x3_cpu, pack_conv3x3, scratch_floats
from eamfmeg_fast.kernels.edge_attention.native import edge_attention_cpu
from eamfmeg_fast.kernels.narrow_conv.native import narrow_conv_cpu, pack_narrow
from eamfmeg_fast.kernels.warp_occlude.native import warp_occlude_cpu
from eamfmeg_fast.network.layers import to_nhwc
from eamfmeg_fast.network.stillness import visible_since_rest

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Attention:
    """EIMHSA on maps that were projected before the warp."""

    def __init__(self, parameters: Parameters) -> None:
        self.config = config = parameters.config
        part = "attention_module"
        released = config.attention == "released"
        edge = f"{part}.key_edge_conv" if released else f"{part}.query_edge_conv"
        query = f"{part}.query_conv" if released else edge
        key = parameters.tensor(f"{part}.key_conv.bias")
        self._small = (
            parameters.tensor(f"{edge}.weight").flatten().clone(),
            parameters.tensor(f"{query}.bias").clone(),
            key + parameters.tensor(f"{edge}.bias") if released else key.clone(),
            parameters.tensor(f"{part}.value_conv.bias").clone(),
            parameters.tensor(f"{part}.gamma").clone(),
        )

    def into(self, out: Tensor, state: TargetState, motion: Motion) -> None:
        """Write the attended, warped and occluded features `[B, h, w, C]`."""
        config, maps, batch = self.config, state.projections, out.shape[0]
        if maps is None or state.edge_map is None:
            raise InputError("a target without projections", "one that backend 'cpu' prepared", "Prepare it again.")
        given = [None if x is None else x.expand(batch, -1, -1, -1) for x in (*maps, to_nhwc(state.features))]
        edge = state.edge_map.expand(batch, -1, -1)
        edge_attention_cpu(
            out, *given, edge, *motion, *self._small, config.strip_rows, config.attention, config.align_corners
        )


class Residual:
    """A pre-activation residual block: two 3x3 convolutions whose batch norms cost nothing."""

    def __init__(self, parameters: Parameters, name: str, products: str, workspace: Workspace) -> None:
        self._products, self._workspace = products, workspace
        scale, shift = affine_of_norm(parameters, f"{name}.norm1")
        self._scale, self._shift = scale.float(), shift.float()
        self._convs = []
        for conv, norm in (("conv1", f"{name}.norm2"), ("conv2", None)):
            weight, bias = folded(parameters, f"{name}.{conv}", norm)
            # Only its shape is read where the packed form is given.
            shape_only = torch.zeros(1, 1, 1, 1).expand(weight.shape)
            self._convs.append((shape_only, bias, pack_conv3x3(weight, products)))

    def into(self, out: Tensor, hidden: Tensor, x: Tensor, tiles: Tensor | None = None, tile: int = 8) -> None:
        """Write `[B, h, w, C]` into `out`, which may be `x`; `hidden` is of the same shape."""
        channels = x.shape[3]
        floats = scratch_floats((x.shape[0], x.shape[1], x.shape[2]), channels, channels, self._products)
        scratch = self._workspace.buffer("odd", (min(floats, MOST_SCRATCH),))
        part: dict[str, Any] = {"tiles": tiles, "tile": tile, "scratch": scratch}
        (weight, bias, packed), (weight2, bias2, packed2) = self._convs
        conv3x3_cpu(
            hidden, x, weight, bias, self._scale, self._shift, None, True, self._products, packed=packed, **part
        )
        conv3x3_cpu(out, hidden, weight2, bias2, None, None, x, False, self._products, packed=packed2, **part)


class Decoder:
    """The generator after the encoder.

    Activations of the residual blocks are float32; with bfloat16 products only what is multiplied is rounded there,
    and the larger maps after them are stored in bfloat16.

    Args:
        products: "float32" or "bfloat16".

    Attributes:
        active: share of the tiles that the last frame computed.
    """

    active = 1.0
    _hidden = torch.float32
    """Of the map between the two convolutions of a residual block."""

    def __init__(self, parameters: Parameters, products: str, workspace: Workspace) -> None:
        self.config = config = parameters.config
        self._stored, self._workspace = _TYPES[products], workspace
        self._attention = Attention(parameters) if config.attention else None
        names = [f"generator.bottleneck.r{i}" for i in range(config.residual_blocks)]
        self._residuals = [self._block(parameters, name, products) for name in names]
        self._up = []
        for i in range(config.down_blocks):
            name = f"generator.up_blocks.{i}"
            weight, bias = folded(parameters, f"{name}.conv", f"{name}.norm")
            self._up.append(Upsampling(weight, bias, products))
        self._weight, self._bias = folded(parameters, "generator.final")
        self._head = pack_narrow(self._weight, products)

    def _block(self, parameters: Parameters, name: str, products: str) -> Residual:
        return Residual(parameters, name, products, self._workspace)

    def draw(self, state: TargetState, motion: Motion) -> Tensor:
        """The pictures, uint8 `[B, H, W, 3]`, the caller's own."""
        batch, size = motion.flow.shape[0], self.config.map_size
        shape = (batch, size, size, state.features.shape[1])
        # Three memories: one for x, one for hidden and every other up block, one for scratch and the rest of them.
        x = self._workspace.buffer("x", shape)
        hidden = self._workspace.buffer("even", shape, self._hidden)
        self.warp(x, state, motion)
        for block in self._residuals:
            block.into(x, hidden, x)
        for i, upsample in enumerate(self._up):
            size *= 2
            memory = "odd" if i % 2 else "even"
            out = self._workspace.buffer(memory, (batch, size, size, upsample.out_channels), self._stored)
            upsample.into(out, x)
            x = out
        logits = self._workspace.buffer("x", (batch, size, size, 3))
        self.head(logits, x)
        pictures = torch.empty(batch, size, size, 3, dtype=torch.uint8)
        self.finish(pictures, logits, state, motion)
        return pictures

    def warp(self, out: Tensor, state: TargetState, motion: Motion) -> None:
        """Write the features along the flow, occluded and attended, `[B, h, w, C]`."""
        if self._attention is not None:
            self._attention.into(out, state, motion)
            return
        features = to_nhwc(state.features).expand(out.shape[0], -1, -1, -1)
        warp_occlude_cpu(out, features, motion.flow, motion.occlusion, self.config.align_corners)

    def head(self, out: Tensor, x: Tensor, tiles: Tensor | None = None, tile: int = 32) -> None:
        """Write the last layer's numbers `[B, H, W, 3]`."""
        narrow_conv_cpu(out, x, self._weight, self._bias, packed=self._head, tiles=tiles, tile=tile)

    def finish(self, pictures: Tensor, logits: Tensor, state: TargetState, motion: Motion) -> None:
        """Write the pictures from the last layer's numbers."""
        config, batch = self.config, pictures.shape[0]
        picture = grain = None
        if config.skip:
            picture = to_nhwc(state.picture).expand(batch, -1, -1, -1)
            grain = None if state.grain is None else to_nhwc(state.grain).expand(batch, -1, -1, -1)
        flow, visible = motion.flow, visible_since_rest(motion.occlusion, state.rest)
        compose_cpu(pictures, logits, picture, grain, flow, visible, config.pixel_grid, config.align_corners)
