"""Where the stages run: on a CUDA device or, to rehearse their code without one, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from harness import Call, Turn, graph_turn, host_turn, launch_turn

from eamfmeg_fast.kernels.registry import Op, operators
from eamfmeg_fast.kernels.side_build import SideLibrary, build_cuda, build_cuda_on_host

REHEARSAL = "EAMFMEG_GPU_REHEARSAL"
ONLY = "EAMFMEG_GPU_ONLY"
"""Names of operators with commas between them; not set: all."""


@dataclass(frozen=True)
class Machine:
    """A device and how work is timed on it.

    Attributes:
        device: "cuda", or "cpu" in a rehearsal: the CUDA room then runs through the host shim, on tiny samples.
    """

    device: str

    @property
    def rooms(self) -> tuple[str, ...]:
        """Rooms that are on trial."""
        interpreting = os.environ.get("TRITON_INTERPRET") == "1"
        return ("triton", "cuda") if self.device == "cuda" or interpreting else ("cuda",)

    @property
    def arch(self) -> str:
        """The device's capability as nvcc spells it: "90"."""
        major, minor = torch.cuda.get_device_capability()
        return f"{major}{minor}"

    def rooms_of(self, op: Op) -> list[str]:
        """The rooms of one operator that are on trial."""
        return [name for name in self.rooms if name in op.rooms]

    def samples(self, op: Op, room: str) -> list[int]:
        """Numbers of the samples that the room takes here."""
        takes, everything = op.rooms[room].takes, self.device == "cuda"
        return [i for i, s in enumerate(op.samples()) if (everything or s.tiny) and takes(*s.args)]

    def build_with_faults(self, folder: Path) -> SideLibrary:
        """All CUDA sources with their planted faults."""
        return build_cuda(folder, self.arch) if self.device == "cuda" else build_cuda_on_host(folder)

    def switches(self, room: str, library: SideLibrary | None, mutant: int) -> dict[str, Any]:
        """What makes a room run with planted fault `mutant`, 0 for none."""
        if room == "triton":
            return {"mutant": mutant}
        return {} if library is None else {"lib": library.with_mutant(mutant)}

    def graph(self, calls: Sequence[Call]) -> Turn:
        """A timer that replays the calls without Python in between."""
        return graph_turn(calls) if self.device == "cuda" else host_turn(calls)

    def launches(self, calls: Sequence[Call]) -> Turn:
        """A timer that makes each call from Python."""
        return launch_turn(calls) if self.device == "cuda" else host_turn(calls)

    def synchronize(self) -> None:
        """Wait for the device; raises what went wrong on it."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    @property
    def cache_bytes(self) -> int:
        """Bytes of the device's last cache."""
        return int(torch.cuda.get_device_properties(0).L2_cache_size) if self.device == "cuda" else 1 << 20


def here() -> Machine:
    """The machine of this process."""
    return Machine("cpu" if os.environ.get(REHEARSAL) == "1" else "cuda")


def in_order() -> list[tuple[str, Op]]:
    """All operators with a GPU room, those that decide a frame's speed first: a run cut short has measured them."""
    first = ("edge_attention", "warp_occlude", "dense_motion", "upsample_conv")
    only = [name for name in os.environ.get(ONLY, "").split(",") if name]
    on_gpu = {name: op for name, op in operators().items() if {"cuda", "triton"} & set(op.rooms)}
    known = {name: op for name, op in on_gpu.items() if not only or name in only}
    return sorted(known.items(), key=lambda item: first.index(item[0]) if item[0] in first else len(first))
