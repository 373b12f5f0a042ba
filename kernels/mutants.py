"""Counts planted faults: each must be seen in every type, on samples small enough to run often."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eamfmeg_fast.kernels.registry import Room, Sample
from eamfmeg_fast.kernels.testing import Judgement, element_type


@dataclass(frozen=True)
class Count:
    """Outcome for one room.

    Attributes:
        planted: faults times types.
        survivors: "name (type)" of those that no sample showed.
        false_alarms: samples that fail without a fault.
    """

    planted: int
    survivors: tuple[str, ...]
    false_alarms: tuple[str, ...]

    @property
    def words(self) -> str:
        """ "32/32": caught of planted."""
        return f"{self.planted - len(self.survivors)}/{self.planted}"


def count(room: Room, samples: Iterable[Sample], run: Callable[[Sample, int], Judgement]) -> Count:
    """Plant each fault of `room` in turn.

    Args:
        samples: calls that the room takes; the tiny ones are used.
        run: `run(sample, number)` runs the room with fault `number`, 0 for none.
    """
    by_type: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.tiny:
            by_type.setdefault(str(element_type(sample)).removeprefix("torch."), []).append(sample)
    survivors = [
        f"{name} ({kind})"
        for number, name in enumerate(room.mutants, 1)
        for kind, group in by_type.items()
        if not any(run(sample, number).fault for sample in group)
    ]
    alarms = [sample.name for group in by_type.values() for sample in group if run(sample, 0).fault]
    return Count(len(room.mutants) * len(by_type), tuple(survivors), tuple(alarms))
