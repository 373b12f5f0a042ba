"""Seeds: which identities are for training, which are held out, and random numbers that do not depend on the batch."""

from __future__ import annotations

import torch

from eamfmeg_fast.errors import OptionError

TRAIN_SEEDS = range(1 << 30)
HELD_OUT_SEEDS = range(1 << 30, (1 << 30) + (1 << 20))
SPLITS = {"train": TRAIN_SEEDS, "held_out": HELD_OUT_SEEDS}
_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """Hash integers into one of 63 bits (splitmix64, chained): the same values always give the same number."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state ^ (value & _MASK)) & _MASK
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state = state ^ (state >> 31)
    return state >> 1


def identity_seeds(seed: int, count: int, split: str) -> list[int]:
    """Identity seeds of one batch.

    Args:
        seed: number of the batch.
        count: how many identities.
        split: "train" or "held_out".

    Raises:
        OptionError: the split is neither.
    """
    if split not in SPLITS:
        raise OptionError(f"split={split!r}", " or ".join(map(repr, SPLITS)), "Choose one of the two.")
    numbers = SPLITS[split]
    return [numbers[mix(seed, index, 0x1D) % len(numbers)] for index in range(count)]


def generator(*values: int) -> torch.Generator:
    """CPU random generator that depends on the given integers alone."""
    return torch.Generator().manual_seed(mix(*values))


def normal_grids(seeds: list[int], salt: int, shape: tuple[int, ...], device: torch.device | str) -> torch.Tensor:
    """Standard normal numbers, float32 [B, *shape], each row from its own seed."""
    rows = [torch.randn(shape, generator=generator(seed, salt)) for seed in seeds]
    return torch.stack(rows).to(device)


class Draw:
    """Named draws for a batch of seeds: each call returns float32 [B, 1, 1], row b depending on seed b alone."""

    def __init__(self, seeds: list[int], salt: int, device: torch.device | str, width: int = 160) -> None:
        rows = [torch.rand(width, generator=generator(seed, salt)) for seed in seeds]
        self._table = torch.stack(rows).to(device)
        self._next = 0

    def unit(self) -> torch.Tensor:
        """Uniform in [0, 1), float32 [B, 1, 1]."""
        column = self._table[:, self._next, None, None]
        self._next += 1
        return column

    def uniform(self, low: float, high: float) -> torch.Tensor:
        """Uniform in [low, high), float32 [B, 1, 1]."""
        return low + (high - low) * self.unit()

    def middle(self, low: float, high: float) -> torch.Tensor:
        """Between low and high, mostly near the middle (mean of two uniforms), float32 [B, 1, 1]."""
        return low + (high - low) * 0.5 * (self.unit() + self.unit())

    def chance(self, probability: float) -> torch.Tensor:
        """1 with the probability, else 0, float32 [B, 1, 1]."""
        return (self.unit() < probability).float()

    def colour(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> torch.Tensor:
        """RGB, each channel uniform in its range, float32 [B, 3, 1, 1]."""
        return torch.stack([self.uniform(a, b) for a, b in zip(low, high, strict=True)], 1)

    def palette(self, *colours: tuple[float, float, float]) -> torch.Tensor:
        """RGB between two neighbours of an ordered palette, float32 [B, 3, 1, 1]."""
        table = torch.tensor(colours, device=self._table.device)
        place = self.unit()[:, 0, 0] * (len(colours) - 1)
        below = place.long().clamp(max=len(colours) - 2)
        part = (place - below)[:, None]
        return (table[below] * (1 - part) + table[below + 1] * part)[:, :, None, None]
