"""The engine: prepare once, detect, step; and the trace that shows everything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from eamfmeg_fast.config import PRESETS, HourglassConfig
from eamfmeg_fast.engine import Engine, FrameResult, choose_backend
from eamfmeg_fast.errors import BackendError, DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.to_image.reference import to_image
from eamfmeg_fast.network import Keypoints, build_network, fill_seeded

STAGES = set(
    "kp_target jacobian_target kp_initial jacobian_initial kp_driving jacobian_driving kp_moved jacobian_moved "
    "edge_map mask flow occlusion sparse_warped features_warped edge_warped attention features_attended "
    "prediction target_small kp_logits kp_features sparse_motion dense_motion_input dense_motion_features "
    "target_features residual_0 bottleneck up_0 up_1 deformed".split()
)
EDGES = {"edge_map", "edge_warped", "attention", "features_attended"}
Picture = np.ndarray


@cache
def engine(precision: str = "fp32") -> Engine:
    return Engine(fill_seeded(build_network("small")), device="cpu", precision=precision, backend="reference")


def engine_with_occlusion(level: float, relative: bool = False) -> Engine:
    """`small`, but its occlusion is sigmoid(level) everywhere."""
    network = fill_seeded(build_network(replace(PRESETS["small"], relative_occlusion=relative)))
    head = network.generator.dense_motion_network.occlusion
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, level)
    return Engine(network, device="cpu", backend="reference")


@cache
def pictures() -> tuple[Picture, Picture, Picture]:
    """Target, initial and driving: smooth patches with some grain; the driving one is the initial one, moved."""
    rng = np.random.default_rng(3)
    low = torch.from_numpy(rng.uniform(0, 255, (2, 3, 16, 16)))
    smooth = torch.nn.functional.interpolate(low, size=(256, 256), mode="bicubic").clamp(0, 255)
    target, initial = (smooth + torch.from_numpy(rng.normal(0, 4, (2, 3, 256, 256)))).clamp(0, 255).byte().numpy()
    driving = np.roll(initial, (3, 5), (1, 2))
    return tuple(np.ascontiguousarray(x.transpose(1, 2, 0)) for x in (target, initial, driving))


@cache
def traced(precision: str) -> dict[str, np.ndarray]:
    return engine(precision).trace(*pictures())


def one_frame(runner: Engine, **options: object) -> FrameResult:
    target, initial, driving = pictures()
    return runner.step(runner.prepare(target), runner.detect(initial), runner.detect(driving), **options)


def test_step_draws_what_the_trace_shows() -> None:
    frame, trace = one_frame(engine()), traced("fp32")
    drawn = to_image(torch.from_numpy(trace["prediction"]).permute(0, 2, 3, 1))[0].numpy()
    assert frame.image.dtype == np.uint8 and frame.image.shape == (256, 256, 3)
    assert np.array_equal(frame.image, drawn)
    assert np.array_equal(frame.flow.numpy(), trace["flow"])
    assert np.array_equal(frame.occlusion.numpy(), trace["occlusion"])
    assert np.array_equal(frame.moved.kp.numpy(), trace["kp_moved"])
    assert np.array_equal(frame.moved.jacobian.numpy(), trace["jacobian_moved"])


def test_prepare_and_detect_give_what_the_trace_shows() -> None:
    target, initial, driving = pictures()
    state, trace = engine().prepare(target), traced("fp32")
    for name, tensor in {
        "target_small": state.thumbnail, "target_features": state.features, "edge_map": state.edge_map,
        "kp_target": state.keypoints.kp, "jacobian_target": state.keypoints.jacobian,
        "kp_initial": engine().detect(initial).kp, "kp_driving": engine().detect(driving).kp,
        "jacobian_driving": engine().detect(driving).jacobian,
    }.items():  # fmt: skip
        assert np.array_equal(tensor.numpy(), trace[name]), name
    assert np.array_equal(((state.picture + state.grain)[0].permute(1, 2, 0) * 255).round().byte().numpy(), target)


def test_the_trace_holds_every_stage() -> None:
    trace = traced("fp32")
    assert set(trace) == STAGES
    assert trace["prediction"].shape == (1, 3, 256, 256) and trace["flow"].shape == (1, 64, 64, 2)
    assert trace["sparse_motion"].shape == (1, 21, 64, 64, 2) and trace["sparse_warped"].shape == (1, 21, 3, 64, 64)
    assert trace["attention"].shape == (1, 16, 256, 256)
    assert 0 <= trace["prediction"].min() and trace["prediction"].max() <= 1


def test_the_background_s_copy_is_the_thumbnail_itself() -> None:
    trace = traced("fp32")
    np.testing.assert_allclose(trace["sparse_warped"][:, 0], trace["target_small"], atol=1e-6)
    assert (trace["dense_motion_input"][:, 0] == 0).all()


def test_stages_that_a_preset_lacks_are_absent() -> None:
    hourglass = HourglassConfig(4, 2, 8)
    config = replace(
        PRESETS["fomm"], keypoint=hourglass, dense_motion=hourglass, generator_expansion=4, residual_blocks=1, size=64
    )
    trace = Engine(fill_seeded(build_network(config)), device="cpu").trace(*(p[::4, ::4] for p in pictures()))
    assert set(trace) == STAGES - EDGES


def test_the_driving_clip_matters() -> None:
    trace = traced("fp32")
    assert np.abs(trace["kp_moved"] - trace["kp_target"]).max() > 1e-3
    still = identity_grid(64, 64, "centres", dtype=torch.float32).numpy()
    assert np.abs(trace["flow"] - still).max() > 1e-3


def test_a_face_at_rest_does_not_move() -> None:
    """To the last bit: keypoints, Jacobians, flow."""
    target, initial, _ = pictures()
    runner = engine()
    state = runner.prepare(target)
    for gain in (None, 1.0, 7.0):
        frame = runner.step(state, runner.detect(initial), runner.detect(initial.copy()), gain=gain)
        assert torch.equal(frame.moved.kp, state.keypoints.kp)
        assert torch.equal(frame.moved.jacobian, state.keypoints.jacobian)
        assert torch.equal(frame.flow[0], identity_grid(64, 64, "centres", dtype=torch.float32))


@pytest.mark.parametrize(
    ("level", "relative", "equal"), [(60.0, False, True), (-60.0, False, False), (0.3, False, False), (0.3, True, True)]
)
def test_a_face_at_rest_keeps_its_pixels_where_it_is_visible(level: float, relative: bool, equal: bool) -> None:
    target, initial, _ = pictures()
    runner = engine_with_occlusion(level, relative)
    initial_points = runner.detect(initial)
    frame = runner.step(runner.prepare(target), initial_points, initial_points)
    assert np.array_equal(frame.image, target) is equal


def test_the_target_moves_with_the_keypoints() -> None:
    """Keypoints that all go right by a quarter take the visible target with them."""
    runner = engine_with_occlusion(60.0)
    head = runner.network.generator.dense_motion_network.mask
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    head.bias.data[0] = -60
    target = pictures()[0]
    state = runner.prepare(target)
    state = replace(state, picture=state.picture + state.grain, grain=None)
    start = state.keypoints
    frame = runner.step(state, start, Keypoints(start.kp + torch.tensor([0.25, 0.0]), start.jacobian), gain=1.0)
    assert np.abs(frame.image[:, 40:].astype(int) - target[:, 8:-32]).max() <= 1


def test_gain_and_motion_reach_the_keypoints() -> None:
    target, initial, driving = pictures()
    runner = engine()
    a, b, c = (runner.detect(picture).kp for picture in (target, initial, driving))
    plain, double = (one_frame(runner, gain=gain).moved.kp for gain in (1.0, 2.0))
    assert torch.allclose(double - a, 2 * (plain - a), atol=1e-6) and not torch.allclose(plain, a, atol=1e-4)
    assert torch.equal(one_frame(runner).moved.kp, plain)
    absolute = one_frame(runner, motion="absolute", gain=2.0)
    assert torch.equal(absolute.moved.kp, c) and not torch.equal(b, c)


def test_the_same_twice() -> None:
    another = Engine(fill_seeded(build_network("small")), device="cpu", precision="fp32", backend="reference")
    first, second = one_frame(engine()), one_frame(another)
    assert np.array_equal(first.image, second.image)
    assert torch.equal(first.flow, second.flow) and torch.equal(first.occlusion, second.occlusion)


def test_the_order_of_frames_does_not_matter() -> None:
    """A step leaves nothing behind in the state."""
    target, initial, driving = pictures()
    runner = engine()
    state, start, moved = runner.prepare(target), runner.detect(initial), runner.detect(driving)
    before = runner.step(state, start, moved).image
    runner.step(state, start, start)
    assert np.array_equal(runner.step(state, start, moved).image, before)


def test_float32_agrees_with_float64() -> None:
    single, double = traced("fp32"), traced("fp64")
    assert double["prediction"].dtype == np.float64 and single["prediction"].dtype == np.float32
    for name in ("kp_target", "kp_driving", "jacobian_driving", "kp_moved", "flow", "mask", "occlusion", "prediction"):
        error = np.abs(single[name] - double[name]).max()
        assert 0 < error <= 1e-4, f"{name}: {error:.1e}"


def test_pictures_may_be_views_and_are_not_kept() -> None:
    target = pictures()[0]
    mirrored = target[:, ::-1]
    assert torch.equal(engine().detect(mirrored).kp, engine().detect(np.ascontiguousarray(mirrored)).kp)
    mine = target.copy()
    state = engine().prepare(mine)
    mine[:] = 0
    exact = torch.from_numpy(target).permute(2, 0, 1)[None] / 255
    assert torch.allclose(state.picture + state.grain, exact, atol=1e-6)


@pytest.mark.parametrize("call", ["prepare", "detect"])
@pytest.mark.parametrize(
    ("picture", "error", "word"),
    [
        (np.zeros((256, 256, 3), np.float32), DtypeError, "float32"),
        (np.zeros((256, 256, 3), np.int64), DtypeError, "int64"),
        (np.zeros((256, 256), np.uint8), ShapeError, r"\[256, 256\]"),
        (np.zeros((256, 256, 4), np.uint8), ShapeError, r"\[256, 256, 4\]"),
        (np.zeros((3, 256, 256), np.uint8), ShapeError, r"\[3, 256, 256\]"),
        (np.zeros((1, 256, 256, 3), np.uint8), ShapeError, r"\[1, 256, 256, 3\]"),
        (np.zeros((128, 256, 3), np.uint8), ShapeError, r"\[128, 256, 3\]"),
    ],
)
def test_bad_pictures_are_refused(call: str, picture: Picture, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        getattr(engine(), call)(picture)


@pytest.mark.parametrize("option", [{"motion": "Relative"}, {"motion": ""}])
def test_unknown_motions_are_refused(option: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="relative or absolute"):
        one_frame(engine(), **option)


@pytest.mark.parametrize("option", [{"backend": "magic"}, {"precision": "fp8"}, {"device": "tpu"}])
def test_unknown_words_are_refused(option: dict[str, str]) -> None:
    with pytest.raises(OptionError, match=next(iter(option.values()))):
        choose_backend(**option)


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="cuda|CUDA") as caught:
        choose_backend(device="cuda")
    assert caught.value.exit_code == 3
    assert choose_backend().device.type == "cpu"


def test_the_plan_says_what_runs() -> None:
    plan = choose_backend(device="cpu", precision="fp64")
    assert plan.dtype == torch.float64 and "fp64" in plan.reason and "cpu" in plan.reason
    assert choose_backend(device="cpu").dtype == torch.float32
