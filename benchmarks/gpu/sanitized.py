"""What compute-sanitizer watches: `python -m gpu.sanitized ROOM [--fault]` runs small samples of one room."""

from __future__ import annotations

import sys
import time

import torch

from eamfmeg_fast.kernels.registry import Op, Sample, as_tuple
from eamfmeg_fast.kernels.testing import element_type, moved
from gpu.machine import here, in_order
from gpu.sanitizer import DONE

_SECONDS = 40.0
_EACH_TYPE = 3
_BEYOND = "one element beyond the end"


def chosen(op: Op, room: str) -> list[Sample]:
    """A few tiny samples of every type: the first are those on which most faults show."""
    by_type: dict[torch.dtype, list[Sample]] = {}
    for sample in op.samples():
        if sample.tiny and op.rooms[room].takes(*sample.args):
            by_type.setdefault(element_type(sample), []).append(sample)
    return [sample for group in by_type.values() for sample in group[:_EACH_TYPE]]


def main() -> None:
    """Run the samples, and say how many."""
    room, machine, calls = sys.argv[1], here(), 0
    end = time.monotonic() + _SECONDS
    fault = "--fault" in sys.argv
    for name, op in in_order():
        if room not in op.rooms or (fault and name != "identity"):
            continue
        # Under the tool a kernel can take seconds: what comes after the time is up is not counted as run.
        for sample in chosen(op, room):
            if time.monotonic() > end:
                break
            args = tuple(moved(arg, machine.device) for arg in sample.args)
            outs = op.fake(*args)
            mutant = list(op.rooms[room].mutants).index(_BEYOND) + 1 if fault else 0
            op.rooms[room].into(outs, *args, **(machine.switches(room, None, mutant) if fault else {}))
            machine.synchronize()
            calls += len(as_tuple(outs)) > 0
    print(f"{DONE} {calls} calls", flush=True)


if __name__ == "__main__":
    main()
