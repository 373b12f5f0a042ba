"""The list of operators: one record each, read by the tests, the benchmarks, the exporters and the documentation."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Operators that carry a record `OP`. Adding one here is what makes the tests run on it.
_NAMES = (
    "identity",
    "antialias_down",
    "soft_argmax",
    "sparse_motion",
    "dense_motion",
    "warp_occlude",
    "edge_attention",
    "quantize",
    "upsample_conv",
    "conv3x3",
    "to_image",
    "narrow_conv",
    "compose",
)

Result = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Sample:
    """One call of an operator.

    Attributes:
        name: what is special about it.
        args: positional arguments, tensors on the CPU.
        tiny: small enough for Triton's interpreter (about 11 ms for each program instance).
    """

    name: str
    args: tuple[Any, ...]
    tiny: bool = True


@dataclass(frozen=True)
class Refusal:
    """A call that must raise `error`, and a word that its message must contain."""

    name: str
    args: tuple[Any, ...]
    error: type[Exception]
    word: str


@dataclass(frozen=True)
class Room:
    """One implementation of an operator.

    Attributes:
        name: "cpu", "cuda" or "triton".
        missing: why it cannot run here, one clause; empty when it can.
        into: `into(out, *args)` writes the result into `out`, contiguous, and touches nothing else; `out` is a tuple
            where the operator has several results.
        mutants: names of the faults planted in the room's source, numbered from 1.
        takes: whether the room is made for these arguments (types, mostly); the reference takes everything.
    """

    name: str
    missing: Callable[[], str]
    into: Callable[..., None]
    mutants: Sequence[str] = ()
    takes: Callable[..., bool] = lambda *args: True


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        name: spelt the same in every room.
        public: the function people call.
        reference: the same in plain PyTorch, any precision.
        fake: empty, contiguous results for given arguments, on their device.
        overload: the registered operator, for `torch.library.opcheck` and for exporters.
        samples, refusals: calls that must work, calls that must not.
        sized: `sized(batch, height, width, channels, dtype, seed)` makes a call of about that size, whatever the
            numbers are; property tests draw them.
        network: the call that one frame of the full-size network makes, in float32; benchmarks time it.
        rooms: implementations beside the reference, by name.
        unrounded: for integer results, the float64 result before it is rounded.
    """

    name: str
    public: Callable[..., Result]
    reference: Callable[..., Result]
    fake: Callable[..., Result]
    overload: Callable[[], Any]
    samples: Callable[[], Sequence[Sample]]
    refusals: Callable[[], Sequence[Refusal]]
    sized: Callable[..., Sample]
    network: Callable[[], Sample]
    rooms: Mapping[str, Room] = field(default_factory=dict)
    unrounded: Callable[..., Result] | None = None


def as_tuple(result: Result) -> tuple[Tensor, ...]:
    """The results of an operator as a tuple, also when there is one."""
    return result if isinstance(result, tuple) else (result,)


def operators() -> dict[str, Op]:
    """All operators by name; the first call imports them."""
    found = (importlib.import_module(f"eamfmeg_fast.kernels.{name}").OP for name in _NAMES)
    return {op.name: op for op in found}


def in_room(op: Op, name: str, **switches: Any) -> Callable[..., Result]:
    """The operator computed by one room; by the reference where that room is not or does not take the call.

    Args:
        switches: for the room's `into`: another library, a planted fault.
    """
    room = op.rooms.get(name)

    def run(*args: Any) -> Result:
        if room is None or not room.takes(*args):
            return op.reference(*args)
        out = op.fake(*args)
        room.into(out, *args, **switches)
        return out

    return run
