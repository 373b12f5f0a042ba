"""What a preset expects: names, shapes and values of its tensors, without allocating them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.network import Network, build_network
from eamfmeg_fast.weights.header import quoted

PARTS = ("generator", "kp_detector", "edge_predictor", "attention_module")

_INITIALISERS = (nn.init.kaiming_uniform_, nn.init.uniform_)

Shapes = Mapping[str, tuple[int, ...]]


class _SkipInit(TorchFunctionMode):
    """Leaves out random initialisation: every number that it would draw is going to be read from a file."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALISERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Mismatch:
    """The first tensor in which a file and a preset differ; a shape is None where there is no such tensor."""

    preset: str
    name: str
    found: tuple[int, ...] | None
    expected: tuple[int, ...] | None

    @property
    def got(self) -> str:
        """What came, as a clause."""
        if self.found is None:
            return f"tensor {self.name} is missing"
        return f"tensor {quoted(self.name)} has shape {list(self.found)}"

    @property
    def wanted(self) -> str:
        """What the preset expects, as a clause."""
        if self.expected is None:
            return f"no such tensor in preset {self.preset}"
        return f"shape {list(self.expected)} in preset {self.preset}"


def is_regenerated(name: str) -> bool:
    """Whether the network makes this tensor itself, so that a file may leave it out.

    These are the counters of batch normalisation, which inference never reads, and the antialias kernels, which the
    preset fixes.
    """
    return name.endswith(".num_batches_tracked") or is_antialias(name)


def is_antialias(name: str) -> bool:
    """Whether this tensor is a fixed antialias kernel."""
    return name.endswith(".down.weight")


def blank_network(preset: str, device: str | torch.device = "cpu") -> Network:
    """A network whose parameters are not initialised, only its fixed buffers; its memory is untouched until filled.

    Raises:
        OptionError: no such preset.
    """
    with torch.device(device), _SkipInit():
        return build_network(preset)


def expected_shapes(preset: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of everything in the state dict of `preset`, in the network's order.

    Raises:
        OptionError: no such preset.
    """
    # Not on "meta": that imports 34 MB of PyTorch, and untouched memory costs nothing either.
    return {name: tuple(tensor.shape) for name, tensor in blank_network(preset).state_dict().items()}


def first_mismatch(found: Shapes, preset: str, expected: Shapes | None = None) -> Mismatch | None:
    """The first tensor that is missing, of another shape or too many; None if a file fits `preset`."""
    expected = expected_shapes(preset) if expected is None else expected
    for name, shape in expected.items():
        if name not in found:
            if not is_regenerated(name):
                return Mismatch(preset, name, None, shape)
        elif found[name] != shape:
            return Mismatch(preset, name, found[name], shape)
    extra = next((name for name in sorted(found) if name not in expected), None)
    return None if extra is None else Mismatch(preset, extra, found[extra], None)


def guess_preset(found: Shapes) -> str:
    """The preset that shares most (name, shape) pairs with `found`; the first in the table of several equal ones."""
    items = set(found.items())
    scores = {preset: _likeness(items, expected_shapes(preset)) for preset in PRESETS}
    return max(scores, key=lambda preset: scores[preset])


def _likeness(items: set[tuple[str, tuple[int, ...]]], expected: Shapes) -> int:
    wanted = set(expected.items())
    return len(items & wanted) - len({name for name, _ in wanted ^ items if not is_regenerated(name)})


def value_problem(name: str, tensor: Tensor) -> str | None:
    """What is wrong with the numbers of `tensor`, as a clause; None if nothing is.

    A running variance of exactly zero passes: a channel that never fires decays to it in float32, and the epsilon of
    the batch norm keeps it harmless.
    """
    if not tensor.is_floating_point():
        return None
    # In parts: a mask of everything would be as large as the largest tensor.
    if not all(bool(torch.isfinite(part).all()) for part in tensor.reshape(-1).split(1 << 20)):
        kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinite values"
        return f"tensor {quoted(name)} holds {kind}"
    if name.endswith(".running_var") and bool((tensor < 0).any()):
        return f"tensor {quoted(name)} holds a negative variance"
    return None
