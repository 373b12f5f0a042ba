"""Several processes that train one network: what torchrun starts, or one alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from eamfmeg_fast.errors import BackendError, OptionError

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of the run.

    Attributes:
        rank: of `count`; rank 0 writes. device: where this process computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether log, checkpoints and weights are this process's to write."""
        return self.rank == 0

    def total(self, x: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each; `x` is overwritten."""
        if self.count > 1:
            dist.all_reduce(x)
        return x

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.total(torch.tensor(float(here), device=self.device)) > 0) if self.count > 1 else here

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """This process among its kind: gloo on the CPU, nccl on CUDA, where torchrun's variables say there are several.

    Args:
        device: "auto" (CUDA where there is one), "cpu" or "cuda".

    Raises:
        OptionError: another device. BackendError: no CUDA device, or the others cannot be reached.
    """
    if device not in DEVICES:
        raise OptionError(f"device {device!r}", f"one of {', '.join(DEVICES)}", "Check the spelling.")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise BackendError("device cuda: PyTorch sees none here", "a CUDA device", "Choose --device cpu.")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    kind = "cpu" if device == "cpu" or not there else "cuda"
    place = torch.device("cpu")
    if kind == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if count < 2:
        yield Ranks(0, 1, place)
        return
    try:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise BackendError(f"{count} processes cannot find each other ({error})", "what torchrun sets") from error
    try:
        yield Ranks(dist.get_rank(), count, place)
    finally:
        dist.destroy_process_group()
