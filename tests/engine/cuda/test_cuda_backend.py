"""The CUDA backend's arithmetic, on the CPU: against the reference network in float64, in every type."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.engine import Engine, building, choose_backend
from eamfmeg_fast.engine import engine as engine_module
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.engine.reference import ReferenceBackend
from eamfmeg_fast.engine.state import stacked
from eamfmeg_fast.errors import BackendError, OptionError
from eamfmeg_fast.network import Keypoints, Network

Backends = Callable[..., CudaBackend]
Pictures = Callable[..., Tensor]
FLOORS = {"fp32": 80.0, "fp16": 60.0, "bf16": 50.0}


def _exact(network: Network) -> ReferenceBackend:
    return ReferenceBackend(network, torch.device("cpu"), torch.float64)


def _psnr(a: Tensor, b: Tensor) -> float:
    error = (a.double() - b.double()).square().mean().item()
    return 99.0 if error == 0 else float(10 * torch.log10(torch.tensor(255**2 / error)))


def _one(points: Keypoints, i: int = 0) -> Keypoints:
    return Keypoints(points.kp[i : i + 1], points.jacobian[i : i + 1])


@pytest.mark.parametrize("word", FLOORS)
def test_it_draws_what_the_reference_draws(network: Network, backend: Backends, pictures: Pictures, word: str) -> None:
    target, driving = pictures(3).split([1, 2])
    exact, fast = _exact(network), backend(network, word)
    expected, found = exact.detect(driving), fast.detect(driving)
    for a, b in zip(expected, found):
        assert b.dtype == torch.float32 and (a - b).abs().max() < 2e-6
    state, wanted = fast.prepare(target), exact.prepare(target)
    for i in range(2):
        drawn, right = fast.draw(state, _one(found, i)), exact.draw(wanted, _one(expected, i))
        assert (drawn.flow - right.flow).abs().max() < 5e-6 and (drawn.occlusion - right.occlusion).abs().max() < 5e-6
        assert drawn.images.dtype == torch.uint8 and _psnr(drawn.images, right.images) > FLOORS[word]
        # Else a decoder that draws one picture for everything would pass.
        assert _psnr(right.images, exact.draw(wanted, _one(expected, 1 - i)).images) < 70


def test_the_target_state_is_the_reference_s(network: Network, backend: Backends, pictures: Pictures) -> None:
    target = pictures(2)
    state, exact = backend(network).prepare(target), _exact(network).prepare(target)
    for name in ("picture", "thumbnail", "features", "edge_map", "grain", "rest"):
        a, b = getattr(exact, name), getattr(state, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.shape == b.shape and (a - b).abs().max() < 1e-5 * max(1, a.abs().max()), name


@pytest.mark.parametrize(("targets", "frames"), [(1, 3), (3, 1), (3, 3)])
def test_many_at_once_are_each_one_alone(
    one_network: Network, backend: Backends, pictures: Pictures, targets: int, frames: int
) -> None:
    fast = backend(one_network)
    all_pictures = pictures(6)
    states = [fast.prepare(all_pictures[i : i + 1]) for i in range(targets)]
    points = fast.detect(all_pictures[3 : 3 + frames])
    moved = Keypoints(*(x.expand(3, *x.shape[1:]) for x in points))
    together = fast.draw(stacked(states), moved)
    for i in range(3):
        alone = fast.draw(states[min(i, targets - 1)], _one(moved, i))
        assert (together.images[i].int() - alone.images[0].int()).abs().max() <= 1
        assert torch.allclose(together.flow[i], alone.flow[0], atol=1e-6)


def test_results_are_the_caller_s_own(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    fast = backend(one_network)
    state = fast.prepare(pictures(1))
    found = fast.detect(pictures(1, seed=5))
    first = fast.draw(state, found)
    kept = [x.clone() for x in (*first[:3], *found)]
    fast.draw(state, Keypoints(found.kp + 0.1, found.jacobian))
    fast.detect(pictures(1, seed=6))
    assert all(torch.equal(a, b) for a, b in zip((*first[:3], *found), kept))
    other = fast.prepare(pictures(1, seed=8))
    fast.draw(other, found)
    assert torch.equal(fast.draw(state, found).images, first.images)


def test_a_face_at_rest_does_not_move(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    """To the last bit, in the type that moves nothing and in the narrow one."""
    for word in ("fp32", "fp16"):
        fast = backend(one_network, word)
        state = fast.prepare(pictures(1))
        factor = torch.tensor([1.7])
        start = fast.detect(pictures(1, seed=4))
        _, flow, *_ = fast.frame_program(state, start, factor, pictures(1, seed=4)).run()
        ys = (2 * torch.arange(16) + 1) / 16 - 1
        assert torch.equal(flow[0, ..., 0], ys.expand(16, 16)) and torch.equal(flow[0, ..., 1].T, ys.expand(16, 16))


def _outgrowing(network: Network) -> Network:
    """The same network, but for what is between the first norm and the convolution behind it: far larger there."""
    network = copy.deepcopy(network)
    block = network.generator.bottleneck[0]
    for parameter, factor in ((block.norm1.weight, 1e6), (block.norm1.bias, 1e6), (block.conv1.weight, 1e-6)):
        parameter.mul_(factor)
    return network


def test_what_outgrows_float16_is_drawn_in_a_wider_type(
    one_network: Network, backend: Backends, pictures: Pictures
) -> None:
    """At the first picture of a target."""
    fast = backend(_outgrowing(one_network), "fp16")
    with pytest.warns(RuntimeWarning, match="float16 is too narrow"):
        state = fast.prepare(pictures(1))
    assert state.features.dtype == torch.bfloat16 and fast.plan.decoder == "bf16" and "too narrow" in fast.plan.reason
    found = fast.detect(pictures(1, seed=4))
    exact = _exact(one_network)
    right = exact.draw(exact.prepare(pictures(1)), Keypoints(*(x.double() for x in found)))
    assert _psnr(fast.draw(state, found).images, right.images) > FLOORS["bf16"]


def test_a_frame_that_outgrows_float16_is_drawn_again(
    one_network: Network, backend: Backends, pictures: Pictures
) -> None:
    """A state prepared in float16, a frame that needs more."""
    fast = backend(one_network, "fp16")
    state = fast.prepare(pictures(1))
    found = fast.detect(pictures(1, seed=4))
    good = fast.draw(state, found)
    narrow = fast.steps.decoders[0]
    narrow._residuals[0].conv1.bias[0] = 7e4
    with pytest.warns(RuntimeWarning, match="an activation outgrew it"):
        again = fast.draw(state, found)
    assert fast.plan.decoder == "bf16" and _psnr(again.images, good.images) > 50


def test_weights_that_outgrow_float16_are_seen_at_once(one_network: Network, backend: Backends) -> None:
    network = copy.deepcopy(one_network)
    network.generator.final.weight.mul_(1e7)
    with pytest.warns(RuntimeWarning, match="a weight outgrew it"):
        assert backend(network, "fp16").plan.decoder == "bf16"


def test_features_that_outgrow_float16_are_seen_before_anything_is_drawn(
    one_network: Network, backend: Backends, pictures: Pictures
) -> None:
    network = copy.deepcopy(one_network)
    norm = network.generator.down_blocks[1].norm
    norm.weight.mul_(1e6), norm.bias.mul_(1e6)
    fast = backend(network, "fp16")
    with pytest.warns(RuntimeWarning, match="the target's features outgrew it"):
        state = fast.prepare(pictures(1))
    assert state.features.dtype == torch.bfloat16 and torch.isfinite(state.features).all()


def test_numbers_of_weights_are_taken_once(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    network = copy.deepcopy(one_network)
    fast = backend(network)
    state, found = fast.prepare(pictures(1)), fast.detect(pictures(1, seed=4))
    before = fast.draw(state, found).images
    for parameter in network.parameters():
        parameter.mul_(3)
    assert torch.equal(fast.draw(state, found).images, before)


def _pretend(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: capability)


def test_a_cuda_device_gets_this_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError if torch.cuda.is_available() else BackendError, match="cuda"):
        choose_backend("cuda", device="cpu")
    _pretend(monkeypatch, (9, 0))
    plan = choose_backend()
    assert (plan.backend, plan.decoder, plan.dtype) == ("cuda", "fp16", torch.float32) and "cuDNN" in plan.reason
    assert choose_backend(precision="bf16").decoder == "bf16"
    assert choose_backend(precision="fp64").backend == "reference" and choose_backend(device="cpu").backend != "cuda"
    _pretend(monkeypatch, (6, 1))
    assert choose_backend().decoder == "fp32"


def test_a_backend_that_does_not_come_up_says_so(one_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("no kernel image for this device")

    plan = replace(choose_backend(device="cpu"), backend="cuda", decoder="fp16", reason="cuDNN")
    monkeypatch.setattr(engine_module, "choose_backend", lambda *asked: plan)
    monkeypatch.setattr(building, "CudaBackend", broken)
    with pytest.warns(RuntimeWarning, match="the reference network runs instead.*no kernel image"):
        engine = Engine(one_network)
    assert engine.plan.backend == "reference" and "no kernel image" in engine.plan.reason
    assert engine.plan.decoder == "fp32"


def test_the_engine_takes_the_plan_from_its_backend(one_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(choose_backend(device="cpu"), backend="cuda", decoder="fp16", reason="cuDNN")
    monkeypatch.setattr(engine_module, "choose_backend", lambda *asked: plan)
    engine = Engine(_outgrowing(one_network))
    with pytest.warns(RuntimeWarning, match="too narrow"):
        engine.prepare(torch.full((64, 64, 3), 99, dtype=torch.uint8).numpy())
    assert engine.plan.decoder == "bf16"
