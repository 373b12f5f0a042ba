"""Which micro-batches a process trains on, and bringing them to its device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.train.feed import Batch, Feed
from eamfmeg_fast.train.options import Stage, TrainOptions
from eamfmeg_fast.train.ranks import Ranks


def share(accumulate: int, ranks: Ranks) -> int:
    """Micro-batches of a step that each process takes.

    Raises:
        OptionError: they cannot be shared out evenly.
    """
    if accumulate % ranks.count:
        raise OptionError(
            f"{accumulate} micro-batches a step for {ranks.count} processes",
            f"a multiple of {ranks.count}",
            f"Choose --accumulate {ranks.count}, with smaller batches if the step shall stay the same.",
        )
    return accumulate // ranks.count


def micro_batches(options: TrainOptions, stage: Stage, offset: int, begin: int, ranks: Ranks) -> Iterator[Batch]:
    """This process's micro-batches of a stage, from its step `begin` on, on the device.

    Convention:
        Step s of the run has the micro-batches `accumulate * s ... accumulate * (s + 1) - 1`, of which rank r of n
        takes every n-th from the r-th on. So the data of a step is the same for any number of processes.

    Args:
        offset: steps of the stages before.
    """
    many = options.accumulate
    # Processes render on the CPU; a device is faster than all of them, and cannot be shared with them.
    own = ranks.device.type != "cpu"
    dataset = Feed(options, stage, offset * many, ranks.device if own else "cpu")
    numbers = [step * many + k for step in range(begin, stage.steps) for k in range(ranks.rank, many, ranks.count)]
    batches: Iterable[Batch] = (
        (dataset[number] for number in numbers)
        if own
        else DataLoader(
            dataset,
            batch_size=None,
            sampler=numbers,
            num_workers=options.workers,
            prefetch_factor=3 if options.workers else None,
        )
    )
    return (_placed(batch, ranks.device) for batch in batches)


def _placed(batch: Batch, device: torch.device) -> Batch:
    moved: dict[str, Any] = {
        item.name: value.to(device)
        for item in fields(Batch)
        if isinstance(value := getattr(batch, item.name), torch.Tensor)
    }
    for name in ("first", "second"):
        moved[name] = moved[name].to(memory_format=torch.channels_last)
    return replace(batch, **moved)
