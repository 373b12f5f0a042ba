"""What one call of an operator needs: its arguments in each type, bytes moved, operations done."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from eamfmeg_fast.kernels.registry import Op, Sample, as_tuple
from eamfmeg_fast.kernels.testing import element_type

_HALVES = (torch.float16, torch.bfloat16)
_TAP_FLOPS = 8
"""Four taps, one product and one sum each."""


@dataclass(frozen=True)
class Case:
    """One call that is timed: arguments on the CPU."""

    name: str
    args: tuple[Any, ...]


def cases(op: Op) -> list[Case]:
    """The call of one frame as it is, in each of its modes, and then in the 16-bit types that samples show."""
    wide = [Case(f"{sample.name}, {_type_name(sample)}", sample.args) for sample in networks(op)]
    halves = []
    for sample in networks(op):
        for dtype in _HALVES:
            args = typed(op, sample, dtype)
            if args is not None:
                halves.append(Case(f"{sample.name}, {str(dtype).removeprefix('torch.')}", args))
    return wide + halves


def networks(op: Op) -> list[Sample]:
    """What one frame of the full-size network calls; an operator with a `mode` is called in each."""
    if "mode" in inspect.signature(op.network).parameters:
        made: Callable[..., Sample] = op.network
        return [made(mode=mode) for mode in ("released", "edge-query")]
    return [op.network()]


def typed(op: Op, sample: Sample, dtype: torch.dtype) -> tuple[Any, ...] | None:
    """The arguments of `sample` about `dtype`; which of them have that type, a sample of the operator says.

    None where there is no such sample.
    """
    if element_type(sample) == dtype:
        return None
    for other in op.samples():
        if _alike(sample, other) and element_type(other) == dtype:
            pairs = zip(sample.args, other.args)
            return tuple(a.to(b.dtype) if isinstance(a, Tensor) else a for a, b in pairs)
    return None


def _alike(a: Sample, b: Sample) -> bool:
    """Whether two calls have tensors in the same places, of like kinds, and the same words beside them."""
    if len(a.args) != len(b.args):
        return False
    for x, y in zip(a.args, b.args):
        if isinstance(x, Tensor) != isinstance(y, Tensor) or (isinstance(x, str) and x != y):
            return False
        if isinstance(x, Tensor) and x.is_floating_point() != y.is_floating_point():
            return False
    return True


def _type_name(sample: Sample) -> str:
    return str(element_type(sample)).removeprefix("torch.")


def bytes_moved(args: tuple[Any, ...], results: Any) -> int:
    """Bytes of a call that reads each input once and writes each output once; expanded memory counts once.

    An operator that needs only a part of its input (antialias_down) moves less: its bandwidth then looks too good.
    """
    seen = {(x.data_ptr(), x.shape, x.stride()): _distinct(x) for x in args if isinstance(x, Tensor)}
    return sum(seen.values()) + sum(_distinct(y) for y in as_tuple(results))


def _distinct(x: Tensor) -> int:
    count = x.element_size()
    for size, stride in zip(x.shape, x.stride()):
        count *= size if stride or not size else 1
    return count


def flops(op: Op, args: tuple[Any, ...]) -> int:
    """Operations of the reference: products and convolutions as PyTorch counts them, and taps of a gather."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        results = as_tuple(op.reference(*args))
    gathered = 0
    if op.name == "warp_occlude":
        gathered = results[0].numel()
    elif op.name == "edge_attention":
        places = results[0].shape[:3].numel()
        maps = [x for x in args[:4] if isinstance(x, Tensor)]
        gathered = places * (1 + sum(x.shape[3] for x in maps))
    return int(counter.get_total_flops()) + gathered * (_TAP_FLOPS + 1)
