"""The CPU backend against the reference in float64, and what only it has: batches, threads, reuse, sparse updates."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from eamfmeg_fast.config import PRESETS, HourglassConfig, NetworkConfig
from eamfmeg_fast.engine import Engine, FrameResult, choose_backend
from eamfmeg_fast.errors import InputError, OptionError, ShapeError
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.network import Keypoints, Network, build_network, fill_seeded

Picture = np.ndarray
_HOURGLASS = HourglassConfig(8, 4, 64)
CONFIGS = {
    "released": replace(
        PRESETS["eamfmeg"],
        keypoint=_HOURGLASS,
        dense_motion=_HOURGLASS,
        generator_expansion=8,
        residual_blocks=2,
        size=128,
    ),
    "plain": replace(
        PRESETS["fomm"], keypoint=_HOURGLASS, dense_motion=_HOURGLASS, generator_expansion=8, residual_blocks=1, size=64
    ),
    "edge-query": replace(
        PRESETS["small"],
        keypoint=_HOURGLASS,
        dense_motion=_HOURGLASS,
        generator_expansion=8,
        residual_blocks=1,
        size=128,
    ),
}
FLOOR_DB = {"fp32": 70.0, "bf16": 45.0}


@cache
def network(name: str) -> Network:
    config: NetworkConfig = CONFIGS[name]
    return fill_seeded(build_network(config))


@cache
def engine(name: str, precision: str, update: str = "exact") -> Engine:
    return Engine(network(name), device="cpu", precision=precision, backend="cpu", update=update)


@cache
def oracle(name: str) -> Engine:
    return Engine(network(name), device="cpu", precision="fp64", backend="reference")


@cache
def pictures(size: int, count: int = 5) -> tuple[Picture, ...]:
    """Two targets, then driving frames: smooth patches with grain, each driving one moved a little further."""
    rng = np.random.default_rng(5)
    low = torch.from_numpy(rng.uniform(0, 255, (3, 3, 12, 12)))
    smooth = torch.nn.functional.interpolate(low, size=(size, size), mode="bicubic")
    first, second, face = (smooth + torch.from_numpy(rng.normal(0, 3, smooth.shape))).clamp(0, 255).byte().numpy()
    frames = [first, second, *(np.roll(face, (i, 2 * i), (1, 2)) for i in range(count - 2))]
    return tuple(np.ascontiguousarray(x.transpose(1, 2, 0)) for x in frames)


def frames_of(runner: Engine, count: int = 3) -> list[FrameResult]:
    target, _, *driving = pictures(runner.config.size)
    state, initial = runner.prepare(target), runner.detect(driving[0])
    return [runner.step(state, initial, runner.detect(frame), gain=1.0) for frame in driving[:count]]


def psnr(a: Picture, b: Picture) -> float:
    error = float(((a.astype(float) - b) ** 2).mean())
    return 10 * np.log10(255**2 / max(error, 1e-6))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_it_draws_what_float64_draws(name: str, precision: str) -> None:
    size = CONFIGS[name].size
    for ours, exact in zip(frames_of(engine(name, precision)), frames_of(oracle(name)), strict=True):
        assert float((ours.moved.kp - exact.moved.kp).abs().max()) * size / 2 < 0.01
        assert float((ours.moved.jacobian - exact.moved.jacobian).abs().max()) < 1e-4
        assert float((ours.flow - exact.flow).abs().max()) * size / 2 < 0.01
        assert float((ours.occlusion - exact.occlusion).abs().max()) < 1e-4
        assert psnr(ours.image, exact.image) > FLOOR_DB[precision]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_flow_does_not_depend_on_the_decoder_s_precision(name: str) -> None:
    """The first frame is at rest: where the target is then drawn as it is, both precisions draw the same."""
    pairs = list(zip(frames_of(engine(name, "fp32")), frames_of(engine(name, "bf16")), strict=True))
    for a, b in pairs:
        assert torch.equal(a.flow, b.flow) and torch.equal(a.occlusion, b.occlusion)
        assert torch.equal(a.moved.kp, b.moved.kp)
    assert not any(np.array_equal(a.image, b.image) for a, b in pairs[1:])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_face_at_rest_does_not_move(name: str) -> None:
    runner = engine(name, "fp32")
    target, _, driving, *_ = pictures(runner.config.size)
    state, initial = runner.prepare(target), runner.detect(driving)
    frame = runner.step(state, initial, runner.detect(driving.copy()), gain=7.0)
    grid = identity_grid(*frame.flow.shape[1:3], runner.config.pixel_grid, dtype=torch.float32)
    assert torch.equal(frame.moved.kp, state.keypoints.kp)
    assert torch.equal(frame.flow[0], grid)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["released", "edge-query"])
def test_threads_and_runs_give_the_same_bits(name: str, precision: str) -> None:
    before = torch.get_num_threads()
    images = []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            fresh = Engine(network(name), device="cpu", precision=precision, backend="cpu")
            images.append(np.stack([frame.image for frame in frames_of(fresh)]))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])


@pytest.mark.parametrize("name", CONFIGS)
def test_many_frames_and_many_targets_at_once(name: str) -> None:
    runner = engine(name, "fp32")
    first, second, *driving = pictures(runner.config.size)
    initial = runner.detect(driving[0])
    points = runner.detect_many(driving)
    for i, frame in enumerate(driving):
        torch.testing.assert_close(points.kp[i], runner.detect(frame).kp[0], atol=1e-6, rtol=0)
    states = [runner.prepare(first), runner.prepare(second)]
    clip = runner.step_many(states[0], initial, points)
    singles = [runner.step(states[0], initial, runner.detect(frame)) for frame in driving]
    crowd = runner.step_many(runner.prepare_many([first, second]), initial, runner.detect(driving[1]))
    singles += [runner.step(state, initial, runner.detect(driving[1])) for state in states]
    for together, alone in zip([*clip, *crowd], singles, strict=True):
        assert together.image.shape == alone.image.shape and together.flow.shape == alone.flow.shape
        torch.testing.assert_close(together.flow, alone.flow, atol=1e-5, rtol=0)
        assert psnr(together.image, alone.image) > 60


def test_numbers_that_do_not_fit_are_refused() -> None:
    runner = engine("plain", "fp32")
    first, second, *driving = pictures(runner.config.size)
    with pytest.raises(ShapeError, match="2 targets, 1 and 3 frames"):
        runner.step_many(
            runner.prepare_many([first, second]), runner.detect(driving[0]), runner.detect_many(driving[:3])
        )


def test_results_stay_when_the_next_frame_comes() -> None:
    runner = engine("edge-query", "bf16")
    kept = frames_of(runner)
    copies = [(frame.image.copy(), frame.flow.clone(), frame.moved.kp.clone()) for frame in kept]
    frames_of(runner)
    for frame, (image, flow, kp) in zip(kept, copies, strict=True):
        assert np.array_equal(frame.image, image) and torch.equal(frame.flow, flow) and torch.equal(frame.moved.kp, kp)


def test_a_repeated_frame_is_answered_from_memory() -> None:
    runner = engine("released", "fp32")
    target, _, start, *driving = pictures(runner.config.size)
    state, initial = runner.prepare(target), runner.detect(start)
    frame = driving[0].copy()
    first = runner.step(state, initial, runner.detect(frame))
    again = runner.step(state, initial, runner.detect(frame.copy()))
    assert (first.active, again.active) == (1.0, 0.0)
    assert np.array_equal(first.image, again.image) and first.image is not again.image
    first.image[:] = 0
    assert again.image.any() and runner.step(state, initial, runner.detect(frame)).image.any()
    frame[:] = driving[1]
    other = runner.step(state, initial, runner.detect(frame))
    assert other.active == 1.0 and not np.array_equal(other.image, again.image)


def test_dense_computes_every_frame() -> None:
    runner = engine("plain", "fp32", "dense")
    frames = frames_of(runner)
    again = frames_of(runner)
    assert all(frame.active == 1.0 for frame in again)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))


def test_several_threads_take_turns() -> None:
    runner = engine("plain", "fp32")
    expected = [frame.image for frame in frames_of(runner)]
    results: list[list[Picture]] = []

    def work() -> None:
        results.append([frame.image for frame in frames_of(runner)])

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 3
    for images in results:
        assert all(np.array_equal(a, b) for a, b in zip(images, expected, strict=True))


def test_the_choice_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    backends = "eamfmeg_fast.engine.backends"
    for able, decoder in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(f"{backends}.multiplies_bf16", lambda able=able: able)
        plan = choose_backend(device="cpu")
        assert (plan.backend, plan.decoder, plan.dtype) == ("cpu", decoder, torch.float32)
        assert decoder in plan.reason and "cpu" in plan.reason
    monkeypatch.setattr(f"{backends}.why_missing", lambda name: "no compiler was there")
    plan = choose_backend(device="cpu")
    assert plan.backend == "reference" and "no compiler was there" in plan.reason


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"backend": "cpu", "precision": "fp64"}, "fp64"),
        ({"backend": "reference", "precision": "bf16"}, "bf16"),
        ({"backend": "reference", "update": "sparse"}, "sparse"),
        ({"update": "lazy"}, "lazy"),
    ],
)
def test_what_does_not_go_together_is_refused(option: dict[str, str], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        choose_backend(device="cpu", **option)


def test_targets_and_keypoints_of_other_networks_are_refused() -> None:
    runner, other = engine("released", "fp32"), engine("edge-query", "fp32")
    target, _, frame, *_ = pictures(runner.config.size)
    state, points = runner.prepare(target), runner.detect(frame)
    with pytest.raises(ShapeError, match="features is"):
        other.step(replace(state, features=state.features[:, :8]), points, points)
    with pytest.raises(ShapeError, match="edge_map is"):
        runner.step(replace(state, edge_map=None), points, points)
    with pytest.raises(ShapeError, match=r"rest is \[1, 32, 32\]; expected absent"):
        runner.step(replace(state, rest=state.picture[:, 0, ::4, ::4]), points, points)
    with pytest.raises(ShapeError, match="rest is absent"):
        other.step(replace(other.prepare(target), rest=None), points, points)
    reference = Engine(network("released"), device="cpu", precision="fp32", backend="reference")
    with pytest.raises(InputError, match="another backend"):
        runner.step(reference.prepare(target), points, points)
    double = oracle("released").prepare(target)
    with pytest.raises(InputError, match="float64"):
        runner.step(double, points, points)
    with pytest.raises(ShapeError, match="keypoints"):
        runner.step(state, points, Keypoints(points.kp[:, :3], points.jacobian[:, :3]))
    exact = oracle("released").detect(frame)
    drawn = runner.step(state, exact, exact)
    assert drawn.flow.dtype == torch.float32 and psnr(drawn.image, runner.step(state, points, points).image) > 60


def test_a_network_that_is_changed_later_does_not_change_the_engine() -> None:
    mine = fill_seeded(build_network(CONFIGS["released"]))
    runner = Engine(mine, device="cpu", precision="fp32", backend="cpu", update="dense")
    before = [frame.image for frame in frames_of(runner)]
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.add_(0.1)
    assert all(np.array_equal(a, b.image) for a, b in zip(before, frames_of(runner), strict=True))


def test_a_stream_may_reuse_the_memory_of_its_frames() -> None:
    runner = engine("plain", "fp32")
    target, _, *driving = pictures(runner.config.size)
    state, initial = runner.prepare(target), runner.detect(driving[0])
    expected = [runner.step(state, initial, runner.detect(frame)).image for frame in driving]

    def camera() -> Iterator[Picture]:
        memory = np.empty_like(driving[0])
        for frame in driving:
            memory[:] = frame
            yield memory

    for batch in (1, 2):
        drawn = list(runner.stream(state, initial, camera(), batch=batch))
        assert all(psnr(a, b) > 60 for a, b in zip(drawn, expected, strict=True))
    with pytest.raises(OptionError, match="batch=0"):
        runner.stream(state, initial, driving, batch=0)
