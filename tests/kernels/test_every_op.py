"""What holds for the public function of every registered operator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eamfmeg_fast.kernels.registry import Op, Sample, as_tuple, operators
from eamfmeg_fast.kernels.testing import compare, upcast

OPS = operators()
EVERY_OP = [pytest.param(op, id=name) for name, op in OPS.items()]
EVERY_SAMPLE = [
    pytest.param(op, sample, id=f"{op.name}-{sample.name.replace(' ', '_')}")
    for op in OPS.values()
    for sample in op.samples()
]
_SMALL = 1 << 16


def _tensors(sample: Sample) -> list[torch.Tensor]:
    return [arg for arg in sample.args if isinstance(arg, torch.Tensor)]


def _size(sample: Sample) -> int:
    return sum(tensor.numel() for tensor in _tensors(sample))


def _check(op: Op, sample: Sample, results: Any) -> None:
    same = as_tuple(op.reference(*sample.args))
    exact = as_tuple((op.unrounded or op.reference)(*map(upcast, sample.args)))
    for out, plain, ref64 in zip(as_tuple(results), same, exact, strict=True):
        assert out.device == plain.device and out.is_contiguous()
        verdict = compare(out, plain, ref64.double())
        assert verdict.passed, verdict.reason


@pytest.mark.parametrize(("op", "sample"), EVERY_SAMPLE)
def test_public_function_shape_and_dtype(op: Op, sample: Sample) -> None:
    """The public function gives what the reference gives: shape, type, device, contiguous, by the error rule."""
    _check(op, sample, op.public(*sample.args))


@pytest.mark.parametrize("op", EVERY_OP)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_size(op: Op, data: st.DataObject) -> None:
    """Whatever the sizes are, the rule holds."""
    size = [data.draw(st.integers(low, high)) for low, high in ((0, 3), (1, 19), (1, 37), (1, 70))]
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]))
    sample = op.sized(*size, dtype, data.draw(st.integers(0, 99)))
    _check(op, sample, op.public(*sample.args))


@pytest.mark.parametrize("op", EVERY_OP)
def test_refuses_bad_input(op: Op) -> None:
    """Each bad call raises our error, and the message names what came."""
    for refusal in op.refusals():
        with pytest.raises(refusal.error) as caught:
            op.public(*refusal.args)
        assert refusal.word in str(caught.value), refusal.name


@pytest.mark.parametrize(("op", "sample"), [p for p in EVERY_SAMPLE if _size(p.values[1]) <= _SMALL])
def test_opcheck(op: Op, sample: Sample) -> None:
    """Schema, fake and autograd registration agree with what the operator does, on every rank and type."""
    args = [_with_grad(arg) for arg in sample.args]
    # Samples with NaN differ from themselves, which the compiled comparison cannot know.
    finite = all(bool(arg.isfinite().all()) for arg in _tensors(sample))
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    result = torch.library.opcheck(op.overload(), args, test_utils=checks if finite else checks[1:])
    assert set(result.values()) == {"SUCCESS"}


def _with_grad(value: Any) -> Any:
    return value.clone().requires_grad_() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _leading(op: Op) -> Sample:
    """A small call in float32."""
    return op.sized(1, 4, 6, 5, torch.float32, 7)


@pytest.mark.parametrize("op", EVERY_OP)
def test_composes_with_compile_and_export(op: Op) -> None:
    """The operator is one node of a traced graph, and the graph computes the same."""
    sample = _leading(op)
    static = [arg for arg in sample.args if not isinstance(arg, torch.Tensor)]
    places = [isinstance(arg, torch.Tensor) for arg in sample.args]

    class Call(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> Any:
            given, fixed = iter(tensors), iter(static)
            return op.public(*(next(given) if place else next(fixed) for place in places))

    tensors = tuple(_tensors(sample))
    torch._dynamo.reset()
    _check(op, sample, torch.compile(Call(), fullgraph=True, backend="aot_eager")(*tensors))
    program = torch.export.export(Call(), tensors)
    targets = [node.target for node in program.graph.nodes]
    assert op.overload() in targets
    _check(op, sample, program.module()(*tensors))


@pytest.mark.parametrize("op", EVERY_OP)
def test_gradient_is_the_reference_s(op: Op) -> None:
    """The registered gradient equals autograd's through the reference."""
    sample = _leading(op)
    if not any(y.is_floating_point() for y in as_tuple(op.reference(*sample.args))):
        pytest.skip("rounding has no gradient")
    grads = []
    for function in (op.public, op.reference):
        args = [_with_grad(arg) for arg in sample.args]
        results = [y for y in as_tuple(function(*args)) if y.requires_grad]
        sum((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() for y in results).backward()
        grads.append([arg.grad for arg in args if isinstance(arg, torch.Tensor) and arg.requires_grad])
    for fast, slow in zip(*grads, strict=True):
        assert (fast is None) == (slow is None)
        if slow is not None:
            torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("op", EVERY_OP)
def test_second_derivative_is_the_reference_s(op: Op) -> None:
    """A penalty on the gradient counts, as it does through the reference."""
    sample = op.sized(1, 4, 6, 5, torch.float64, 7)
    if not any(y.is_floating_point() for y in as_tuple(op.reference(*sample.args))):
        pytest.skip("rounding has no gradient")
    found = []
    for function in (op.public, op.reference):
        args = [_with_grad(arg) for arg in sample.args]
        leaves = [arg for arg in args if isinstance(arg, torch.Tensor) and arg.requires_grad]
        total = sum((y**2).sum() for y in as_tuple(function(*args)))
        first = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
        penalty = sum((grad**2).sum() for grad in first if grad is not None)
        found.append(torch.autograd.grad(penalty, leaves, allow_unused=True))
    for fast, slow in zip(*found, strict=True):
        assert (fast is None) == (slow is None)
        if slow is not None:
            torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("op", EVERY_OP)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_changes_nothing(op: Op, dtype: torch.dtype) -> None:
    """An operator computes in the types of its arguments, whether a fast room runs or the reference."""
    args = op.sized(1, 4, 6, 5, dtype, 7).args
    plain = as_tuple(op.public(*args))
    with torch.autocast("cpu", torch.bfloat16):
        cast = as_tuple(op.public(*args))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(plain, cast, strict=True))


def test_every_folder_with_samples_is_registered(root: Any) -> None:
    """An operator that has cases but is not on the list would never be tested."""
    assert {path.parent.name for path in (root / "kernels").glob("*/samples.py")} == set(OPS)
