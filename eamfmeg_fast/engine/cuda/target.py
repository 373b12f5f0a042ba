"""What is computed once for a target, as the decoder gathers from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eamfmeg_fast.engine.cuda.layers import Convolution, Place
from eamfmeg_fast.engine.cuda.pointwise import pooled, settle
from eamfmeg_fast.engine.folding import folded
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import Projections, TargetState
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.network.layers import to_nhwc


class TargetMaps(NamedTuple):
    """The parts of N targets that a frame reads; pixels before channels. What a preset lacks is None.

    Attributes:
        thumbnail: `[N, h, w, 3]`. target_kp: `[N, K, 2]`. target_jacobian: `[N, K, 2, 2]`.
        features: `[N, h, w, C]` and query, key, value: `[N, h, w, .]`, in the decoder's type.
        edge_map, rest: `[N, h, w]`. picture, grain: `[N, H, W, 3]`, for presets that blend the picture in.
    """

    thumbnail: Tensor
    target_kp: Tensor
    target_jacobian: Tensor
    features: Tensor
    edge_map: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    picture: Tensor | None = None
    grain: Tensor | None = None
    rest: Tensor | None = None

    @property
    def keypoints(self) -> Keypoints:
        """The targets' own."""
        return Keypoints(self.target_kp, self.target_jacobian)

    def expanded(self, batch: int) -> TargetMaps:
        """The same for `batch` frames; one target serves for all of them."""
        return TargetMaps(**{name: x.expand(batch, *x.shape[1:]) for name, x in self.named().items()})

    def named(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        return {name: x for name, x in self._asdict().items() if x is not None}


def maps_of(state: TargetState, skip: bool) -> TargetMaps:
    """The maps of a state that this backend prepared."""
    query, key, value = state.projections or (None, None, None)
    picture = to_nhwc(state.picture) if skip else None
    grain = None if state.grain is None or not skip else to_nhwc(state.grain)
    return TargetMaps(
        to_nhwc(state.thumbnail),
        *state.keypoints,
        to_nhwc(state.features),
        state.edge_map,
        query,
        key,
        value,
        picture,
        grain,
        state.rest,
    )


class Encoder:
    """The generator's way down and the attention's projections, float32."""

    def __init__(self, parameters: Parameters, place: Place) -> None:
        self.config = config = parameters.config
        weight, bias = folded(parameters, "generator.first.conv", "generator.first.norm")
        self._first = Convolution(weight, bias, padding=3, place=place)
        self._down = []
        for i in range(config.down_blocks):
            name = f"generator.down_blocks.{i}"
            weight, bias = folded(parameters, f"{name}.conv", f"{name}.norm")
            self._down.append(Convolution(weight, bias, padding=1, place=place))
        names = ("query", "key", "value") if config.attention == "released" else ("key", "value")
        self._projections: dict[str, Convolution] = {}
        for name in names if config.attention else ():
            weight = parameters.tensor(f"attention_module.{name}_conv.weight")
            self._projections[name] = Convolution(weight, weight.new_zeros(weight.shape[0]), padding=0, place=place)

    def encode(self, picture: Tensor) -> Tensor:
        """Features `[B, h, w, C]` of `[B, H, W, 3]` in [0, 1]."""
        out = settle(self._first(picture), self._first.bias)
        for convolve in self._down:
            out = pooled(convolve(out), convolve.bias)
        return out

    def project(self, features: Tensor, dtype: torch.dtype) -> Projections | None:
        """The maps that the attention gathers from, without biases; None for a preset without attention."""
        if not self._projections:
            return None
        maps = {name: convolve(features).to(dtype) for name, convolve in self._projections.items()}
        return Projections(maps.get("query"), maps["key"], maps["value"])
