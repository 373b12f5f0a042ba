"""Which of several ways to compute the same runs: decided by time, and by whether it computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendWarning

_CLOSE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}
"""Of the largest number: far more than roundings do, far less than a mistake does."""

Stopwatch = Callable[[Callable[[], Tensor]], float]


class Tuner:
    """Chooses, while it has a stopwatch; the first way is what runs otherwise."""

    def __init__(self) -> None:
        self.stopwatch: Stopwatch | None = None
        self.chosen: dict[str, str] = {}

    def choose(self, place: str, ways: Mapping[str, Callable[[], Tensor]]) -> str:
        """The name of the way to go at `place`, a layer and the shape it works on.

        A way that fails or computes something else than the first one is left out with a warning.
        """
        known = self.chosen.get(place)
        if known is not None:
            return known
        names = list(ways)
        if self.stopwatch is None:
            return names[0]
        expected = ways[names[0]]()
        times = {names[0]: self.stopwatch(ways[names[0]])}
        for name in names[1:]:
            try:
                fault = _differs(ways[name](), expected)
                times |= {} if fault else {name: self.stopwatch(ways[name])}
            except Exception as error:  # whatever a kernel's compiler raises, the first way is still there
                fault = f"{type(error).__name__}: {error}"[:200]
            if fault:
                warnings.warn(f"{place}: {name!r} is not used: {fault}", BackendWarning, stacklevel=2)
        self.chosen[place] = min(times, key=lambda name: times[name])
        return self.chosen[place]


def _differs(found: Tensor, expected: Tensor) -> str:
    error = (found.float() - expected.float()).abs().max().item()
    most = expected.float().abs().max().item()
    allowed = _CLOSE[expected.dtype] * max(most, 1e-6)
    return "" if error <= allowed else f"it differs by {error:.2g} where the largest number is {most:.2g}"
