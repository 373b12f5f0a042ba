"""How an operator is judged: the error rule, poisoned memory with sentinels around it, and nothing else.

The rule: `err(fast) <= 2 err(reference in the same type) + 4 eps max|ref64|`, for the largest and for the rms error,
both against the reference in float64. It needs no tolerance that somebody has to guess, and it never depends on the
machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.kernels.registry import Op, Room, Sample, as_tuple

_SENTINEL = 0xA5
_POISON = 0xFF
_MARGIN = 4096


@dataclass(frozen=True)
class Verdict:
    """Outcome of one comparison.

    Attributes:
        passed: the rule holds.
        reason: empty, or what broke it, with figures.
        max_error, max_allowed, rms_error, rms_allowed: absolute, against the float64 reference.
    """

    passed: bool
    reason: str
    max_error: float = 0.0
    max_allowed: float = 0.0
    rms_error: float = 0.0
    rms_allowed: float = 0.0


def compare(fast: Tensor, same_dtype: Tensor, ref64: Tensor) -> Verdict:
    """Judge `fast` by the error rule.

    Where `ref64` is not finite, `fast` must hold the same NaN or infinity; elsewhere `fast` must be finite. An integer
    result is judged by its distance from the values that round to it, when `ref64` has not been rounded.

    Args:
        fast: the result on trial, any shape and type.
        same_dtype: the reference run in the type of `fast`.
        ref64: the reference run in float64 on the same inputs.
    """
    if fast.shape != ref64.shape or same_dtype.shape != ref64.shape:
        return Verdict(False, f"shape {list(fast.shape)}, expected {list(ref64.shape)}")
    if fast.dtype != same_dtype.dtype:
        return Verdict(False, f"type {fast.dtype}, expected {same_dtype.dtype}")
    if ref64.dtype != torch.float64:
        return Verdict(False, f"the reference is {ref64.dtype}, expected torch.float64")
    if ref64.numel() == 0:
        return Verdict(True, "")
    got, plain, ref = fast.detach().cpu().double(), same_dtype.detach().cpu().double(), ref64.detach().cpu()
    finite = torch.isfinite(ref)
    if not _same_bits(got[~finite], ref[~finite]):
        return Verdict(False, "a NaN or an infinity of the reference is missing")
    if not bool(torch.isfinite(got[finite]).all()):
        return Verdict(False, f"{int((~torch.isfinite(got[finite])).sum())} values are not finite and should be")
    return _judge(got[finite], plain[finite], ref[finite], fast.dtype)


def _judge(got: Tensor, plain: Tensor, ref: Tensor, dtype: torch.dtype) -> Verdict:
    if ref.numel() == 0:
        return Verdict(True, "")
    rounded = not dtype.is_floating_point and not bool((ref == ref.round()).all())
    eps = torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps
    floor = 4 * eps * float(ref.abs().max())
    error, plain_error = (got - ref).abs(), (plain - ref).abs()
    # Where the plain reference overflows it says nothing about what is allowed.
    plain_error = plain_error[torch.isfinite(plain_error)] if bool(torch.isfinite(plain_error).any()) else 0 * error
    if rounded:
        error, plain_error = (error - 0.5).clamp(min=0), (plain_error - 0.5).clamp(min=0)
    largest, rms = float(error.max()), float(error.square().mean().sqrt())
    max_allowed = 2 * float(plain_error.max()) + floor
    rms_allowed = 2 * float(plain_error.square().mean().sqrt()) + floor
    broken = []
    if not largest <= max_allowed:
        broken.append(f"largest error {largest:.3g}, allowed {max_allowed:.3g}")
    if not rms <= rms_allowed:
        broken.append(f"rms error {rms:.3g}, allowed {rms_allowed:.3g}")
    return Verdict(not broken, "; ".join(broken), largest, max_allowed, rms, rms_allowed)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (torch.isnan(a) & torch.isnan(b))).all())


class Guarded:
    """A contiguous output tensor whose memory begins as NaN and has sentinel bytes on both sides.

    Attributes:
        tensor: what the operator writes into. Every byte of it is 0xFF, which is NaN in every floating type.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        size = torch.Size(shape).numel() * dtype.itemsize
        self._bytes = torch.full((size + 2 * _MARGIN,), _SENTINEL, dtype=torch.uint8, device=device)
        self._bytes[_MARGIN : _MARGIN + size] = _POISON
        self.tensor = self._bytes[_MARGIN : _MARGIN + size].view(dtype).view(shape)

    def trespass(self) -> int:
        """How many sentinel bytes were overwritten."""
        size = self._bytes.numel() - 2 * _MARGIN
        outside = torch.cat([self._bytes[:_MARGIN], self._bytes[_MARGIN + size :]])
        return int((outside != _SENTINEL).sum())


def snapshot(args: tuple[object, ...]) -> list[bytes]:
    """The bytes of all tensors in `args`, to see later that an operator left its inputs alone."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    # Not .contiguous(): one element with a stride of five counts as contiguous, and cannot be viewed as bytes.
    packed = [tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for tensor in tensors]
    return [tensor.view(torch.uint8).numpy().tobytes() for tensor in packed]


@dataclass(frozen=True)
class Judgement:
    """A room's run on one sample.

    Attributes:
        verdicts: one for each result.
        trespass: bytes written beside the outputs.
        outputs: what the room wrote.
    """

    verdicts: tuple[Verdict, ...]
    trespass: int
    outputs: tuple[Tensor, ...]

    @property
    def fault(self) -> str:
        """Empty, or what is wrong."""
        reasons = [verdict.reason for verdict in self.verdicts if not verdict.passed]
        return "; ".join([*reasons, *([f"{self.trespass} bytes beside the output"] if self.trespass else [])])

    @property
    def excess(self) -> float:
        """The largest error as a share of what is allowed; 0 where nothing is allowed and nothing is off."""
        pairs = [(v.max_error, v.max_allowed) for v in self.verdicts]
        return max((error / allowed if allowed else float(error > 0) for error, allowed in pairs), default=0.0)


def judge(op: Op, room: Room, sample: Sample, device: str = "cpu", **switches: Any) -> Judgement:
    """Run one room on one sample, in guarded memory on `device`, and judge it against the reference."""
    same = as_tuple(op.reference(*sample.args))
    ref64 = as_tuple((op.unrounded or op.reference)(*map(upcast, sample.args)))
    outs = [Guarded(tuple(y.shape), y.dtype, device) for y in same]
    into = tuple(out.tensor for out in outs)
    room.into(into if len(into) > 1 else into[0], *(moved(arg, device) for arg in sample.args), **switches)
    verdicts = tuple(compare(out, plain, ref.double()) for out, plain, ref in zip(into, same, ref64))
    return Judgement(verdicts, sum(out.trespass() for out in outs), into)


def upcast(value: Any) -> Any:
    """Floating tensors in float64, everything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def moved(value: Any, device: str) -> Any:
    """A tensor on `device` with the same strides: they are what some samples are about."""
    if not isinstance(value, Tensor) or device == "cpu":
        return value
    if 0 in value.stride():
        base = value[tuple(slice(0, 1) if step == 0 else slice(None) for step in value.stride())]
        return moved(base, device).expand(value.shape)
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device).copy_(value)


def element_type(sample: Sample) -> torch.dtype:
    """The type that a sample is about: that of its first tensor."""
    return next(arg.dtype for arg in sample.args if isinstance(arg, Tensor))
