"""From the target's features and a motion to the picture: warp, attention, residual blocks, up blocks, head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.engine.cuda.front import Motion
from eamfmeg_fast.engine.cuda.layers import Convolution, Place, Upsampling
from eamfmeg_fast.engine.cuda.pointwise import settle, settle_and_norm
from eamfmeg_fast.engine.cuda.target import TargetMaps
from eamfmeg_fast.engine.folding import affine_of_norm, folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.kernels.edge_attention import edge_attention
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.to_image import to_image
from eamfmeg_fast.kernels.warp_occlude import warp_occlude
from eamfmeg_fast.kernels.warp_occlude.reference import warp_cubic
from eamfmeg_fast.network.stillness import visible_since_rest

_EVEN = 8
"""Tensor cores want channels in eights: the head has three."""


class Attention:
    """EIMHSA on maps that were projected before the warp."""

    def __init__(self, parameters: Parameters, place: Place) -> None:
        self.config = config = parameters.config
        part = "attention_module"
        released = config.attention == "released"
        edge = f"{part}.key_edge_conv" if released else f"{part}.query_edge_conv"
        query = f"{part}.query_conv" if released else edge
        key = parameters.tensor(f"{part}.key_conv.bias")
        key_bias = key + parameters.tensor(f"{edge}.bias") if released else key
        self._edge_weight, self._query_bias, self._key_bias, self._value_bias, self._gamma = (
            x.to(place.device, torch.float32).clone()
            for x in (
                parameters.tensor(f"{edge}.weight").flatten(),
                parameters.tensor(f"{query}.bias"),
                key_bias,
                parameters.tensor(f"{part}.value_conv.bias"),
                parameters.tensor(f"{part}.gamma"),
            )
        )

    def __call__(self, maps: TargetMaps, motion: Motion) -> Tensor:
        """The attended, warped and occluded features `[B, h, w, C]`."""
        if maps.key is None or maps.value is None or maps.edge_map is None or self.config.attention is None:
            raise TypeError("this target was prepared for a network without attention")
        return edge_attention(
            maps.query,
            maps.key,
            maps.value,
            maps.features,
            maps.edge_map,
            motion.flow,
            motion.occlusion,
            self._edge_weight,
            self._query_bias,
            self._key_bias,
            self._value_bias,
            self._gamma,
            self.config.strip_rows,
            self.config.attention,  # type: ignore[arg-type]
            self.config.align_corners,
        )


class Residual:
    """A pre-activation residual block; its first norm is applied by whoever wrote the map before it."""

    def __init__(self, parameters: Parameters, name: str, place: Place) -> None:
        first, second = affine_of_norm(parameters, f"{name}.norm1")
        self.norm = first.to(place.device, torch.float32), second.to(place.device, torch.float32)
        self.conv1 = Convolution(*folded(parameters, f"{name}.conv1", f"{name}.norm2"), padding=1, place=place)
        self.conv2 = Convolution(*folded(parameters, f"{name}.conv2"), padding=1, place=place)


class Decoder:
    """The generator after the encoder, in one type throughout; sums are float32.

    Attributes:
        finite: whether all weights fit into the type.
    """

    def __init__(self, parameters: Parameters, place: Place) -> None:
        self.config = config = parameters.config
        self.dtype = place.dtype
        self._attention = Attention(parameters, place) if config.attention else None
        names = [f"generator.bottleneck.r{i}" for i in range(config.residual_blocks)]
        self._residuals = [Residual(parameters, name, place) for name in names]
        self._up = []
        for i in range(config.down_blocks):
            name = f"generator.up_blocks.{i}"
            self._up.append(Upsampling(name, *folded(parameters, f"{name}.conv", f"{name}.norm"), place))
        weight, bias = folded(parameters, "generator.final")
        more = -weight.shape[0] % _EVEN
        self._head = Convolution(F.pad(weight, (0, 0) * 3 + (0, more)), F.pad(bias, (0, more)), padding=3, place=place)
        self._still = [
            identity_grid(side, side, config.pixel_grid, dtype=torch.float32, device=place.device)
            for side in (config.map_size, config.size)
        ]
        convolutions = [conv for block in self._residuals for conv in (block.conv1, block.conv2)]
        fits = [layer.fits for layer in convolutions] + [layer.fits for layer in self._up]
        self.finite = all(fits) and self._head.fits

    def draw(self, maps: TargetMaps, motion: Motion, flag: Tensor) -> Tensor:
        """The pictures, uint8 `[B, H, W, 3]`.

        Args:
            maps: of as many targets as there are motions.
            flag: int32 `[1]`, becomes 1 if any stored map outgrew the decoder's type.
        """
        # Wide types overflow where float32 does, and what comes out is then as bad in the reference.
        watched = flag if self.dtype == torch.float16 else None
        x = self._warp(maps, motion)
        hidden = x
        for i, block in enumerate(self._residuals):
            if i == 0:
                x, hidden = settle_and_norm(x, None, None, block.norm, watched)
            hidden = settle(block.conv1(hidden), block.conv1.bias, flag=watched)
            out, bias = block.conv2(hidden), block.conv2.bias
            if i + 1 < len(self._residuals):
                x, hidden = settle_and_norm(out, bias, x, self._residuals[i + 1].norm, watched)
            else:
                x = settle(out, bias, add=x, relu=False, flag=watched)
        for upsample in self._up:
            x = settle(upsample(x), upsample.bias, flag=watched)
        logits = settle(self._head(x), self._head.bias, relu=False, flag=watched)[..., :3]
        return self._finish(logits, maps, motion) if self.config.skip else to_image(logits, True)

    def _warp(self, maps: TargetMaps, motion: Motion) -> Tensor:
        if self._attention is not None:
            return self._attention(maps, motion)
        return warp_occlude(maps.features, motion.flow, motion.occlusion, self.config.align_corners)

    def _finish(self, logits: Tensor, maps: TargetMaps, motion: Motion) -> Tensor:
        """Blend the target's own pixels in; as `network.generator` does."""
        if maps.picture is None:
            raise TypeError("this target was prepared for a network that does not blend its picture in")
        size, centred = (self.config.size,) * 2, self.config.pixel_grid == "centres"
        small, large = self._still
        moved = (motion.flow - small if centred else motion.flow).permute(0, 3, 1, 2)
        grid = F.interpolate(moved, size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        deformed = warp_cubic(maps.picture, grid + large if centred else grid, self.config.align_corners)
        seen = visible_since_rest(motion.occlusion, maps.rest)
        visible = F.interpolate(seen[:, None], size=size, mode="bilinear", align_corners=False)
        prediction = torch.sigmoid(logits.float())
        prediction = prediction + visible.permute(0, 2, 3, 1) * (deformed - prediction)
        return to_image(prediction if maps.grain is None else prediction + maps.grain)
