"""Adam whose state is as short in memory as it is in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from eamfmeg_fast.network import Network
from eamfmeg_fast.train.parts import parameters_of
from eamfmeg_fast.train.rounding import dither, shortened, trimmed

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class Moments:
    """One part's parameters, end to end, and what Adam remembers of their gradients.

    Attributes:
        names, parameters: of the part. count: steps done.
        mean, square: bfloat16 `[N]`, the running means of the gradient and of its square.
    """

    def __init__(self, network: Network, part: str) -> None:
        named = list(parameters_of(network, part))
        self.names, self.parameters = [name for name, _ in named], [parameter for _, parameter in named]
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.count, self.device = 0, self.parameters[0].device
        self.mean = torch.zeros(sum(self.sizes), dtype=torch.bfloat16, device=self.device)
        self.square = torch.zeros_like(self.mean)

    def gradient(self) -> Tensor:
        """float32 `[N]`; zero where nothing arrived."""
        return torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self.parameters]
        )

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float, seed: int) -> None:
        """Move the parameters along `gradient`; `seed` and the count decide how the rounding falls."""
        self.count += 1
        first, second = _BETAS
        mean = self.mean.float().mul_(first).add_(gradient, alpha=1 - first)
        square = self.square.float().mul_(second).addcmul_(gradient, gradient, value=1 - second)
        bits = dither(mean.numel(), seed * 1_000_003 + self.count, self.device)
        self.mean, self.square = shortened(mean, bits), shortened(square, bits >> 16)
        divisor = square.div_(1 - second**self.count).sqrt_().add_(_EPSILON)
        weights = torch.cat([parameter.flatten() for parameter in self.parameters])
        weights.addcdiv_(mean, divisor, value=-rate / (1 - first**self.count))
        for parameter, values in zip(self.parameters, trimmed(weights, bits >> 8).split(self.sizes), strict=True):
            parameter.copy_(values.view(parameter.shape))

    def named(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, mean and square of every parameter, views of its shape."""
        means, squares = self.mean.split(self.sizes), self.square.split(self.sizes)
        for name, parameter, mean, square in zip(self.names, self.parameters, means, squares, strict=True):
            yield name, mean.view(parameter.shape), square.view(parameter.shape)


class ShortAdam:
    """Adam (beta 0.9 and 0.999) over the two parts of a network, each with a rate and a count of its own.

    Args:
        network: whose parameters move. seed: of the rounding.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self.parts = {part: Moments(network, part) for part in ("front", "decoder")}
        self.seed = seed

    def forget_gradients(self) -> None:
        """Drop what the last step collected."""
        for moments in self.parts.values():
            for parameter in moments.parameters:
                parameter.grad = None

    def step(self, gradients: Mapping[str, Tensor], rates: Mapping[str, float], longest: float) -> float:
        """Move every part that has a gradient.

        Args:
            gradients: by part, float32 `[N]`. rates: by part. longest: length that they are cut to, together.

        Returns:
            Their length before; where that is not finite nothing has moved.
        """
        length = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
        if math.isfinite(length):
            for index, (part, moments) in enumerate(self.parts.items()):
                if part in gradients:
                    cut = gradients[part] * min(1.0, longest / (length + 1e-6))
                    moments.step(cut, rates[part], 2 * self.seed + index)
        return length
