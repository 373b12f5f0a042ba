"""What holds for the public functions on a CUDA device: dispatch, gradient, streams and graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.kernels.registry import Op, Sample, as_tuple, operators
from eamfmeg_fast.kernels.testing import compare, moved, upcast
from eamfmeg_fast.network import build_network, fill_seeded

pytestmark = pytest.mark.gpu
OPS = operators()
EVERY_OP = [pytest.param(op, id=name) for name, op in OPS.items()]


def _on_device(sample: Sample) -> tuple[Any, ...]:
    return tuple(moved(arg, "cuda") for arg in sample.args)


def _check(op: Op, sample: Sample, results: Any) -> None:
    same = as_tuple(op.reference(*sample.args))
    exact = as_tuple((op.unrounded or op.reference)(*map(upcast, sample.args)))
    for out, plain, ref64 in zip(as_tuple(results), same, exact, strict=True):
        assert out.device.type == "cuda" and out.is_contiguous()
        verdict = compare(out, plain, ref64.double())
        assert verdict.passed, f"{sample.name}: {verdict.reason}"


@pytest.mark.parametrize("op", EVERY_OP)
def test_public_function_on_every_sample(op: Op) -> None:
    """Whichever room takes the call, the result is on the device and right."""
    for sample in op.samples():
        _check(op, sample, op.public(*_on_device(sample)))


@pytest.mark.parametrize("op", EVERY_OP)
def test_gradient_is_the_reference_s(op: Op) -> None:
    sample = op.sized(1, 4, 6, 5, torch.float32, 7)
    if not any(y.is_floating_point() for y in as_tuple(op.reference(*sample.args))):
        pytest.skip("rounding has no gradient")
    grads = []
    for function in (op.public, op.reference):
        args = [_with_grad(arg) for arg in _on_device(sample)]
        results = [y for y in as_tuple(function(*args)) if y.requires_grad]
        sum((y * torch.linspace(-1, 1, y.numel(), device="cuda").view(y.shape)).sum() for y in results).backward()
        grads.append([arg.grad for arg in args if isinstance(arg, torch.Tensor) and arg.grad is not None])
    assert grads[0]
    for fast, slow in zip(*grads, strict=True):
        torch.testing.assert_close(fast, slow)


def _with_grad(value: Any) -> Any:
    return value.clone().requires_grad_() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@pytest.mark.parametrize(("op", "room"), [(op, room) for op in OPS.values() for room in ("cuda", "triton")])
def test_a_captured_graph_computes_with_new_inputs(op: Op, room: str) -> None:
    """A room queues its work on the current stream and waits for nothing: it can be replayed, on other data too."""
    sample = op.sized(1, 4, 6, 5, torch.float32, 3)
    fresh = op.sized(1, 4, 6, 5, torch.float32, 3 + 60)
    if room not in op.rooms or not op.rooms[room].takes(*sample.args):
        pytest.skip("the operator has no such room")
    args, stream = _on_device(sample), torch.cuda.Stream()
    out = op.fake(*args)
    with torch.cuda.stream(stream):
        op.rooms[room].into(out, *args)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        op.rooms[room].into(out, *args)
    for static, new in zip(args, fresh.args):
        if isinstance(static, torch.Tensor):
            static.copy_(new)
    graph.replay()
    torch.cuda.synchronize()
    _check(op, fresh, out)


def test_a_frame_of_the_small_network() -> None:
    """The engine on the device moves keypoints and flow by less than 0.01 px, and the picture by less than 80 dB."""
    coarse = np.random.default_rng(5).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    pictures = list(np.kron(coarse, np.ones((1, 16, 16, 1), np.uint8)))
    network = fill_seeded(build_network("small"))
    exact = Engine(network, device="cpu", precision="fp64").trace(*pictures)
    fast = Engine(network, device="cuda", precision="fp32").trace(*pictures)
    for stage in ("kp_driving", "flow"):
        assert np.abs(fast[stage] - exact[stage]).max() * 128 < 0.01, stage
    assert -10 * np.log10(np.square(fast["prediction"] - exact["prediction"]).mean()) > 80
