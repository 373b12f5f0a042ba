"""The CUDA backend on a CUDA device: graphs, streams, pinned memory, tensor cores; judged against float64."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.network import Keypoints, Network, build_network, fill_seeded

pytestmark = pytest.mark.gpu
Picture = np.ndarray
FLOORS = {"fp32": 70.0, "fp16": 50.0, "bf16": 40.0}


@cache
def _pictures() -> list[Picture]:
    coarse = np.random.default_rng(5).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    return list(np.kron(coarse, np.ones((1, 16, 16, 1), np.uint8)))


@cache
def _engine(preset: str, precision: str) -> Engine:
    """On the device; nothing may be warned of, or what runs is not what is to be tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return Engine(fill_seeded(build_network(preset)), device="cuda", precision=precision)


@cache
def _exact(preset: str) -> list[tuple[Picture, Tensor, Tensor]]:
    """Pictures, flow and keypoints of the frames by the reference in float64."""
    engine = Engine(fill_seeded(build_network(preset)), device="cuda", precision="fp64")
    target, initial, *frames = _pictures()
    state, start = engine.prepare(target), engine.detect(initial)
    found = [(frame, engine.detect(frame)) for frame in frames[:3]]
    drawn = [engine.step(state, start, points) for _, points in found]
    return [(frame.image, frame.flow, points.kp) for frame, (_, points) in zip(drawn, found)]


def _psnr(a: Picture, b: Picture) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean() + 1e-12))


@pytest.mark.parametrize(("preset", "precision"), [*(("small", word) for word in FLOORS), ("eamfmeg", "fp16")])
def test_frames_are_the_reference_s(preset: str, precision: str) -> None:
    """Keypoints and flow within 0.01 px whatever the decoder is, also where TF32 is allowed elsewhere."""
    engine = _engine(preset, precision)
    assert engine.plan.backend == "cuda" and engine.plan.decoder == precision and "by CUDA graphs" in engine.plan.reason
    target, initial, *frames = _pictures()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        state, start = engine.prepare(target), engine.detect(initial)
        for frame, (image, flow, kp) in zip(frames, _exact(preset)):
            points = engine.detect(frame)
            drawn = engine.step(state, start, points)
            assert (points.kp - kp).abs().max() * 128 < 0.01 and (drawn.flow - flow).abs().max() * 128 < 0.01
            assert _psnr(drawn.image, image) > FLOORS[precision]


@pytest.mark.parametrize(("batch", "ahead"), [(1, 0), (1, 1), (4, 2)])
def test_a_stream_is_its_frames(batch: int, ahead: int) -> None:
    """More than once, so that what is late shows."""
    engine = _engine("small", "fp16")
    target, initial, *frames = _pictures()
    state, start = engine.prepare(target), engine.detect(initial)
    expected = [engine.step(state, start, engine.detect(frame)).image for frame in frames]
    for _ in range(5):
        found = list(engine.stream(state, start, frames * 3, batch=batch, ahead=ahead))
        assert len(found) == 3 * len(frames)
        for a, b in zip(found, expected * 3):
            assert _psnr(a, b) > 50


def test_many_targets_and_changing_ones() -> None:
    """A graph that was captured with one target draws the others."""
    engine = _engine("small", "fp32")
    targets, initial, frame = _pictures()[:3], *_pictures()[3:5]
    start, points = engine.detect(initial), engine.detect(frame)
    states = [engine.prepare(target) for target in targets]
    alone = [engine.step(state, start, points).image for state in states]
    together = engine.step_many(engine.prepare_many(targets), start, points)
    assert all(_psnr(a, b.image) > 60 for a, b in zip(alone, together, strict=True))
    assert all(np.array_equal(engine.step(s, start, points).image, a) for s, a in zip(states[::-1], alone[::-1]))
    assert not np.array_equal(alone[0], alone[1])


@pytest.mark.parametrize("precision", FLOORS)
def test_a_face_at_rest_does_not_move(precision: str) -> None:
    engine = _engine("small", precision)
    target, initial = _pictures()[:2]
    start = engine.detect(initial)
    still = identity_grid(64, 64, "centres", dtype=torch.float32, device="cuda")
    for gain in (1.0, 7.0):
        frame = engine.step(engine.prepare(target), start, engine.detect(initial.copy()), gain=gain)
        assert torch.equal(frame.flow[0], still)


def test_keypoints_may_come_from_the_host() -> None:
    engine = _engine("small", "fp32")
    target, initial, frame = _pictures()[:3]
    state, start, points = engine.prepare(target), engine.detect(initial), engine.detect(frame)
    here = engine.step(state, start, points).image
    away = [Keypoints(*(x.cpu() for x in y)) for y in (start, points)]
    assert np.array_equal(engine.step(state, *away).image, here)


def test_what_outgrows_float16_is_seen_by_the_kernels() -> None:
    network: Network = fill_seeded(build_network("small"))
    block = network.generator.bottleneck[0]
    with torch.no_grad():
        block.norm1.weight.mul_(1e6), block.norm1.bias.mul_(1e6), block.conv1.weight.mul_(1e-6)
    with pytest.warns(RuntimeWarning, match="float16 is too narrow"):
        engine = Engine(network, device="cuda", precision="fp16")
        state = engine.prepare(_pictures()[0])
    assert engine.plan.decoder == "bf16" and state.features.dtype == torch.bfloat16
    frame = engine.step(state, engine.detect(_pictures()[1]), engine.detect(_pictures()[2]))
    assert _psnr(frame.image, _exact("small")[0][0]) > FLOORS["bf16"]


def test_a_capture_that_fails_is_loud_and_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", refuse)
    with pytest.warns(RuntimeWarning, match="no CUDA graph"):
        engine = Engine(fill_seeded(build_network("small")), device="cuda", precision="fp32")
    assert "without CUDA graphs" in engine.plan.reason
    target, initial, frame = _pictures()[:3]
    drawn = engine.step(engine.prepare(target), engine.detect(initial), engine.detect(frame))
    assert _psnr(drawn.image, _exact("small")[0][0]) > FLOORS["fp32"]


def test_both_ways_of_the_up_blocks_were_tried() -> None:
    backend = _engine("eamfmeg", "fp16")._built
    assert isinstance(backend, CudaBackend)
    chosen = backend.steps.tuner.chosen
    assert any("generator.up_blocks.0" in place for place in chosen) and set(chosen.values()) <= {"doubled", "phases"}
