"""How large the numbers are that come into some convolutions."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from eamfmeg_fast.errors import InputError


class Ranges:
    """Keeps the largest number that came into each of the convolutions called `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.largest = dict.fromkeys(names, 0.0)

    @contextlib.contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Look at every call of `network`'s convolutions until the context ends.

        Raises:
            InputError: at the call that gives numbers which are not finite.
        """
        hooks = [
            network.get_submodule(name).register_forward_pre_hook(functools.partial(self._look, name))
            for name in self.largest
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _look(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        largest = float(inputs[0].max())
        if not math.isfinite(largest):
            raise InputError(f"activations of {name} that are not finite", "a network that draws pictures")
        self.largest[name] = max(self.largest[name], largest)
