"""Batch norm folded into the convolution in front of it, in float64, rounded once."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.engine.parameters import Parameters

_CHUNK = 32
_EPS = torch.nn.BatchNorm2d(1).eps


def affine_of_norm(parameters: Parameters, name: str) -> tuple[Tensor, Tensor]:
    """A batch norm as `x * scale + shift`, float64 `[C]` each."""
    weight, bias, mean, variance = (
        parameters.tensor(f"{name}.{leaf}").double() for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / torch.sqrt(variance + _EPS)
    return scale, bias - mean * scale


def folded(parameters: Parameters, conv: str, norm: str | None = None) -> tuple[Tensor, Tensor]:
    """A convolution's weight `[O, C, k, k]` and bias `[O]`, float32, with the batch norm that follows it inside."""
    weight, bias = parameters.tensor(f"{conv}.weight"), parameters.tensor(f"{conv}.bias")
    if norm is None:
        # Not the network's own memory, nor a view of the file.
        return weight.clone(), bias.clone()
    scale, shift = affine_of_norm(parameters, norm)
    scaled = torch.empty_like(weight)
    # A few channels at a time: the largest weights in float64 would be the process's peak of memory.
    for part, numbers, factors in zip(scaled.split(_CHUNK), weight.split(_CHUNK), scale.split(_CHUNK), strict=True):
        part.copy_(numbers.double() * factors[:, None, None, None])
    return scaled, (bias.double() * scale + shift).float()


def joined(parameters: Parameters, *convs: str) -> tuple[Tensor, Tensor]:
    """Convolutions that read the same map as one with all their output channels, in this order."""
    pairs = [folded(parameters, conv) for conv in convs]
    return torch.cat([weight for weight, _ in pairs]), torch.cat([bias for _, bias in pairs])
