"""What one step of a byte stands for in a network's activations, measured on people of the lab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eamfmeg_fast.engine import Engine, NetworkParameters, Parameters
from eamfmeg_fast.engine.ranges import Ranges
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import sample_pairs
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights import StoredWeights, WeightsInfo, store_scales

_LEVELS = 255
_MOST_PEOPLE = 64
"""All are held in memory at once."""


def measure_scales(
    network: Network | Parameters,
    people: int = 6,
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, float]:
    """The step of a byte for the input of each convolution in the residual blocks, by its name.

    Each person of the lab is drawn with a movement of their own and with that of the next one, in float32. The largest
    activation of all becomes 255: on faces that were not measured, cutting more off loses more than finer steps bring.

    Args:
        network: with its weights. people: how many; seed: another seed, other people.
        progress: called with the number of people done and of all.

    Raises:
        OptionError: no people, or more than 64. InputError: the network gives numbers that are not finite.
    """
    if not 1 <= people <= _MOST_PEOPLE:
        raise OptionError(f"people={people}", f"1 to {_MOST_PEOPLE}", "A few are enough.")
    parameters = NetworkParameters(network) if isinstance(network, Network) else network
    engine = Engine(parameters, device="cpu", backend="reference", precision="fp32", update="dense")
    ranges = Ranges(engine.config.residual_convolutions)
    pairs = sample_pairs(people, size=engine.config.size, seed=seed, motion="mixed")
    first, second = (_pictures(x) for x in (pairs.first, pairs.second))
    with ranges.watching(engine.network):
        for i in range(people):
            state = engine.prepare(first[i])
            for j in sorted({i, (i + 1) % people}):
                engine.step(state, engine.detect(first[j]), engine.detect(second[j]))
            if progress is not None:
                progress(i + 1, people)
    # A convolution that never saw anything but zeros loses nothing with any step.
    return {name: (largest or 1.0) / _LEVELS for name, largest in ranges.largest.items()}


def calibrate(
    path: str | Path, people: int = 6, *, seed: int = 0, progress: Callable[[int, int], object] | None = None
) -> WeightsInfo:
    """Measure the scales of a weights file and store them in it; its tensors and its card stay as they are.

    Args:
        path: one of `weights.pretrained_names()` or a `.safetensors` file, which is replaced in one step.
        people, seed, progress: as `measure_scales`.

    Raises:
        WeightsError: as `weights.load_network`, or the file cannot be written. OptionError, InputError: as
            `measure_scales`.
    """
    stored = StoredWeights(path)
    return store_scales(stored.info.path, measure_scales(stored, people, seed=seed, progress=progress))


def _pictures(x: Tensor) -> np.ndarray:
    """float32 `[B, 3, H, W]` in [0, 1] as uint8 `[B, H, W, 3]`."""
    out: np.ndarray = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return out
