"""A step with memory of its own for what goes in, made once for each shape and run for every frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.engine.cuda.shell import Run, Shell, Step

_MOST = 8
"""Programs that are kept: each holds the memory of a whole frame."""


class Program:
    """A step and its inputs.

    Attributes:
        inputs: static memory; write there, then `run`.
        host: memory of the host for what is fetched.
    """

    def __init__(self, step: Step, shapes: Mapping[str, Tensor], shell: Shell, warm: Callable[[bool], None]) -> None:
        self.inputs = {name: _static(x) for name, x in shapes.items()}
        self.host: dict[int, Tensor] = {}
        self._loaded: dict[str, Any] = {}
        self._step, self._shell, self._warm = step, shell, warm
        self._run: Run | None = None

    def load(self, name: str, origin: Any, values: Mapping[str, Tensor]) -> None:
        """Copy `values` to the inputs, unless they came from the same `origin` the last time."""
        if self._loaded.get(name) is origin and origin is not None:
            return
        for key, value in values.items():
            self.inputs[key].copy_(value, non_blocking=True)
        # Held, so that nothing else gets its identity.
        self._loaded[name] = origin

    def run(self) -> tuple[Tensor, ...]:
        """What the step gives for the inputs as they are; valid until the next run."""
        if self._run is not None and not self._shell.why_no_graphs:
            return self._run()
        with self._shell.exact():
            if self._run is None:
                self._run = self._shell.capture(self._step, self.inputs, self._warm)
            return self._run()

    def fetch(self, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Results of `run` on the host, the caller's own."""
        for i, result in enumerate(results):
            if i not in self.host:
                self.host[i] = self._shell.pinned(result)
            self.host[i].copy_(result, non_blocking=True)
        self._shell.synchronize(self._shell.mark())
        # Not the pinned memory itself: whoever keeps frames would take the pages away from everybody else.
        return tuple(self.host[i].clone() for i in range(len(results)))


class Programs:
    """The programs used last, by what they were made for."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Program] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Program]) -> Program:
        """The program of `key`, made where it is not there."""
        if key not in self._known:
            while len(self._known) >= _MOST:
                self._known.popitem(last=False)
            self._known[key] = make()
        self._known.move_to_end(key)
        return self._known[key]


def _static(like: Tensor) -> Tensor:
    """Contiguous memory with the numbers of `like`, so that what is tried out on it is a frame."""
    return torch.empty_like(like, memory_format=torch.contiguous_format).copy_(like)
