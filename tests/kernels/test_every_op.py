"""The same tests for every registered operator and every room that can run here."""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest
import torch

from eamfmeg_fast.kernels.registry import Op, Room, Sample, operators
from eamfmeg_fast.kernels.testing import Guarded, Verdict, compare, snapshot

OPS = operators()
_INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"


def _samples(op: Op) -> list[Sample]:
    return [sample for sample in op.samples() if sample.tiny or not _INTERPRETING]


EVERY_OP = [pytest.param(op, id=name) for name, op in OPS.items()]
EVERY_ROOM = [pytest.param(op, room, id=f"{op.name}-{room.name}") for op in OPS.values() for room in op.rooms.values()]
EVERY_SAMPLE = [
    pytest.param(op, sample, id=f"{op.name}-{sample.name.replace(' ', '_')}")
    for op in OPS.values()
    for sample in _samples(op)
]


def _device(room: Room) -> str:
    return "cpu" if room.name == "cpu" or _INTERPRETING else "cuda"


def _moved(value: Any, device: str) -> Any:
    # A copy to another device must keep the strides: they are what some samples are about.
    if not isinstance(value, torch.Tensor) or device == "cpu":
        return value
    span = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    return span.copy_(value) if 0 not in value.stride() else value.to(device)


def _upcast(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _run(op: Op, room: Room, sample: Sample, **switches: Any) -> tuple[Verdict, Guarded]:
    ref64 = op.reference(*map(_upcast, sample.args))
    same = op.reference(*sample.args)
    out = Guarded(tuple(same.shape), same.dtype, _device(room))
    room.into(out.tensor, *(_moved(arg, _device(room)) for arg in sample.args), **switches)
    return compare(out.tensor, same, ref64.double()), out


def _skip_missing(room: Room) -> None:
    if reason := room.missing():
        pytest.skip(f"NOT RUN: {reason}")


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_matches_reference_and_writes_only_its_output(op: Op, room: Room) -> None:
    """Every sample: the error rule holds, no poison is left, no byte beside the output or in the inputs has changed."""
    _skip_missing(room)
    for sample in _samples(op):
        before = snapshot(sample.args)
        verdict, out = _run(op, room, sample)
        assert verdict.passed, f"{sample.name}: {verdict.reason}"
        assert out.trespass() == 0, sample.name
        assert snapshot(sample.args) == before, sample.name


@pytest.mark.parametrize(("op", "sample"), EVERY_SAMPLE)
def test_public_function_shape_and_dtype(op: Op, sample: Sample) -> None:
    """The public function gives what the reference gives: shape, type, device, contiguous, by the error rule."""
    out, same = op.public(*sample.args), op.reference(*sample.args)
    assert out.device == same.device and out.is_contiguous()
    verdict = compare(out, same, op.reference(*map(_upcast, sample.args)).double())
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize("op", EVERY_OP)
def test_refuses_bad_input(op: Op) -> None:
    """Each bad call raises our error, and the message names what came."""
    for refusal in op.refusals():
        with pytest.raises(refusal.error) as caught:
            op.public(*refusal.args)
        assert refusal.word in str(caught.value), refusal.name


@pytest.mark.parametrize(("op", "sample"), EVERY_SAMPLE)
def test_opcheck(op: Op, sample: Sample) -> None:
    """Schema, fake and autograd registration agree with what the operator does, on every rank and type."""
    if sum(arg.numel() for arg in sample.args if isinstance(arg, torch.Tensor)) > 1 << 16:
        pytest.skip("a large sample adds nothing here")
    args = [_with_grad(arg) for arg in sample.args]
    # Samples with NaN differ from themselves, which the compiled comparison cannot know.
    finite = all(bool(arg.isfinite().all()) for arg in args if isinstance(arg, torch.Tensor))
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    result = torch.library.opcheck(op.overload(), args, test_utils=checks if finite else checks[1:])
    assert set(result.values()) == {"SUCCESS"}


def _with_grad(value: Any) -> Any:
    return value.clone().requires_grad_() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_deterministic(op: Op, room: Room) -> None:
    """Three runs give the same bytes."""
    _skip_missing(room)
    for sample in _samples(op):
        runs = [snapshot((_run(op, room, sample)[1].tensor,)) for _ in range(3)]
        assert runs[0] == runs[1] == runs[2], sample.name


@pytest.mark.parametrize(("op", "room"), EVERY_ROOM)
def test_mutants_are_caught(op: Op, room: Room, request: pytest.FixtureRequest) -> None:
    """Every fault planted in the room's own source fails on at least one sample; without a fault all samples pass."""
    if room.name == "cuda":
        pytest.skip("NOT RUN: planted CUDA faults need a build with EAMFMEG_MUTANTS=1")
    if room.name == "triton":
        _skip_missing(room)
    assert len(room.mutants) >= 8
    assert not _caught(op, room, request, 0)
    survivors = [name for i, name in enumerate(room.mutants, 1) if not _caught(op, room, request, i)]
    assert not survivors


def _caught(op: Op, room: Room, request: pytest.FixtureRequest, number: int) -> bool:
    switches: dict[str, Any] = {"mutant": number}
    if room.name == "cpu":
        switches = {"lib": request.getfixturevalue("faulty_library").with_mutant(number)}
    run = functools.partial(_run, op, room, **switches)
    small = [sample for sample in op.samples() if sample.tiny]
    return any(not verdict.passed or out.trespass() for verdict, out in map(run, small))


def test_every_folder_with_samples_is_registered(root: Any) -> None:
    """An operator that has cases but is not on the list would never be tested."""
    assert {path.parent.name for path in (root / "kernels").glob("*/samples.py")} == set(OPS)
