"""How large the numbers are that come into some convolutions, and which steps of a byte lose the least of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eamfmeg_fast.errors import InputError

_BINS = 1 << 15
_INFINITE = 0x7F80
_LEVELS = 255


class Ranges:
    """Counts what comes into the convolutions called `names`, which follow a ReLU; memory does not grow.

    A number falls into the bin of the upper half of its float32: bins are 0.8 % wide, whatever the range is.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._counts = {name: torch.zeros(_BINS, dtype=torch.int64) for name in names}

    @contextlib.contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Count in every call of `network`'s convolutions until the context ends.

        Raises:
            InputError: at the call that gives numbers which are not finite, or below zero.
        """
        hooks = [
            network.get_submodule(name).register_forward_pre_hook(functools.partial(self._count, name))
            for name in self._counts
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _count(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        bits = inputs[0].detach().to("cpu", torch.float32).contiguous().view(-1).view(torch.int32) >> 16
        # A negative zero is a zero.
        bits[bits == -_BINS] = 0
        if bits.numel() and not 0 <= int(bits.min()) <= int(bits.max()) < _INFINITE:
            raise InputError(f"activations of {name} that are negative or not finite", "what a ReLU gives")
        self._counts[name] += torch.bincount(bits, minlength=_BINS)

    def steps(self) -> dict[str, float]:
        """For each convolution the step of a byte that loses the least (`best_step`)."""
        bits = torch.arange(_BINS, dtype=torch.int32)
        middles = ((bits << 16) | 0x8000).view(torch.float32).double()
        return {name: best_step(middles[counts > 0], counts[counts > 0]) for name, counts in self._counts.items()}


def best_step(values: Tensor, counts: Tensor) -> float:
    """The step at which rounding to 0...255 steps has the smallest mean squared error.

    Too small a step cuts off what is large, too large a step is coarse for all the rest.

    Args:
        values: float64 `[N]`, not negative. counts: how often each came.
    """
    largest = float(values.max()) if values.numel() else 0.0
    if largest <= 0.0:
        return 1.0 / _LEVELS
    steps = largest / _LEVELS * 2.0 ** (-torch.arange(96, dtype=torch.float64) / 16)
    errors = []
    for step in steps:
        rounded = torch.minimum(values.square(), step * step / 12)
        cut = (values - _LEVELS * step).clamp(min=0).square()
        errors.append(float((counts * torch.where(cut > 0, cut, rounded)).sum()))
    return float(steps[int(torch.tensor(errors).argmin())])
