"""The int8 decoder: close to float64, the same bits always, and refused where it cannot run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eamfmeg_fast.config import PRESETS, HourglassConfig
from eamfmeg_fast.engine import Engine, NetworkParameters, choose_backend, int8
from eamfmeg_fast.engine.cpu.bytes import ByteResidual
from eamfmeg_fast.engine.int8 import Int8Convolution, why_no_int8
from eamfmeg_fast.engine.ranges import Ranges
from eamfmeg_fast.errors import BackendError, InputError, OptionError
from eamfmeg_fast.evaluate import measure_scales
from eamfmeg_fast.kernels.compiled import why_missing
from eamfmeg_fast.network import Network, build_network, fill_seeded
from eamfmeg_fast.weights import StoredWeights

Picture = np.ndarray

runs_here = pytest.mark.skipif(
    bool(why_no_int8() or why_missing("_C")), reason=f"NOT RUN: {why_no_int8() or why_missing('_C')}"
)


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pictures(size: int = 256) -> tuple[Picture, Picture, Picture]:
    """Target, initial and driving: smooth patches with some grain; the driving one is the initial one, moved."""
    rng = np.random.default_rng(3)
    low = torch.from_numpy(rng.uniform(0, 255, (2, 3, 16, 16)))
    smooth = F.interpolate(low, size=(size, size), mode="bicubic").clamp(0, 255)
    target, initial = (smooth + torch.from_numpy(rng.normal(0, 4, (2, 3, size, size)))).clamp(0, 255).byte().numpy()
    driving = np.roll(initial, (3, 5), (1, 2))
    return tuple(np.ascontiguousarray(x.transpose(1, 2, 0)) for x in (target, initial, driving))


def frame(engine: Engine) -> Picture:
    target, initial, driving = pictures(engine.config.size)
    return engine.step(engine.prepare(target), engine.detect(initial), engine.detect(driving), gain=1.0).image


def psnr(a: Picture, b: Picture) -> float:
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-9)))


@cache
def tiny() -> Network:
    """Without attention and without the skip: the picture is the residual blocks' own."""
    hourglass = HourglassConfig(4, 2, 8)
    config = replace(
        PRESETS["fomm"], keypoint=hourglass, dense_motion=hourglass, generator_expansion=8, residual_blocks=2, size=64
    )
    return fill_seeded(build_network(config))


@cache
def tiny_scales() -> dict[str, float]:
    return measure_scales(tiny(), 2)


@cache
def tiny_engine() -> Engine:
    return Engine(NetworkParameters(tiny(), tiny_scales()), device="cpu", precision="int8")


@cache
def small_engine(precision: str) -> Engine:
    return Engine(StoredWeights("small"), device="cpu", precision=precision, update="dense")


@pytest.mark.slow
@runs_here
def test_the_shipped_network_stays_close_to_float64() -> None:
    exact = frame(small_engine("fp64"))
    close = psnr(frame(small_engine("int8")), exact)
    assert 66 < close < psnr(frame(small_engine("fp32")), exact)


@runs_here
def test_a_network_that_paints_every_pixel_stays_close_to_float64() -> None:
    exact = frame(Engine(tiny(), device="cpu", precision="fp64"))
    assert psnr(frame(tiny_engine()), exact) > 50


@runs_here
def test_wrong_scales_are_seen_in_the_picture() -> None:
    """The floors above would not hold if scales meant nothing."""
    exact = frame(Engine(tiny(), device="cpu", precision="fp64"))
    for factor in (0.1, 30.0):
        wrong = {name: step * factor for name, step in tiny_scales().items()}
        engine = Engine(NetworkParameters(tiny(), wrong), device="cpu", precision="int8")
        assert psnr(frame(engine), exact) < psnr(frame(tiny_engine()), exact) - 3


@runs_here
def test_the_same_bits_with_any_number_of_threads_and_in_every_run() -> None:
    for network in (NetworkParameters(tiny(), tiny_scales()), StoredWeights("small")):
        found = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.append(frame(Engine(network, device="cpu", precision="int8")))
        assert np.array_equal(found[0], found[1]) and np.array_equal(found[1], found[2])


@runs_here
def test_several_frames_at_once_are_those_one_by_one() -> None:
    engine = tiny_engine()
    target, initial, driving = pictures(64)
    state, start = engine.prepare(target), engine.detect(initial)
    both = engine.step_many(state, start, engine.detect_many([initial, driving]))
    for one, picture in zip(both, (initial, driving), strict=True):
        alone = engine.step(state, start, engine.detect(picture)).image
        assert np.abs(one.image.astype(int) - alone).max() <= 1


@runs_here
def test_a_convolution_is_exact_in_whole_numbers() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(0, 256, (2, 9, 7, 40), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    weight = torch.randint(-127, 128, (24, 40, 3, 3), generator=generator).float()
    weight[:, 0, 0, 0] = 127.0
    weight[3] = 0.0
    bias = torch.randint(-9, 10, (24,), generator=generator).float()
    # Steps that are powers of two: every product and every sum is exact, and so must be the result.
    convolve = Int8Convolution(weight / 64, bias, step=0.25, size=8)
    exact = F.conv2d(x.double() / 4, weight.double() / 64, bias.double(), padding=1)
    total = torch.ones(2, 9, 7, 24).permute(0, 3, 1, 2)
    kept = total.clone()
    convolve.add_to(total, x)
    assert torch.equal(total.double(), (exact + kept).float().double())
    step = float(exact.max()) / 200
    steps = exact.clamp(min=0) / step
    assert float((convolve.to_bytes(x, step).double() - steps.clamp(max=255)).abs().max()) <= 0.5 + 1e-4
    assert int(convolve.to_bytes(x, step / 4).max()) == 255


def test_ranges_hold_the_largest_that_came() -> None:
    network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(1, 1, 1))
    ranges = Ranges(["1"])
    with ranges.watching(network):
        for value in (-3.0, 2.5, 1.0):
            network(torch.full((1, 1, 2, 2), value))
        with pytest.raises(InputError, match="activations of 1 that are not finite"):
            network(torch.full((1, 1, 2, 2), torch.nan))
    network(torch.full((1, 1, 2, 2), 9.0))
    assert ranges.largest == {"1": 2.5}


def test_measured_scales_cover_what_came_and_repeat() -> None:
    scales = tiny_scales()
    assert tuple(scales) == tiny().config.residual_convolutions and all(step > 0 for step in scales.values())
    assert measure_scales(tiny(), 2) == scales != measure_scales(tiny(), 2, seed=1)
    with pytest.raises(OptionError, match="people=0"):
        measure_scales(tiny(), 0)


@runs_here
def test_a_residual_block_takes_no_tiles() -> None:
    block = ByteResidual(NetworkParameters(tiny(), tiny_scales()), "generator.bottleneck.r0")
    x = torch.randn(1, 16, 16, 32, generator=torch.Generator().manual_seed(1))
    hidden, out = torch.empty(x.shape, dtype=torch.uint8), torch.empty_like(x)
    block.into(out, hidden, x)
    kept = x.clone()
    block.into(kept, hidden, kept)
    assert torch.equal(out, kept) and not torch.equal(out, x)
    with pytest.raises(OptionError, match="tiles"):
        block.into(out, hidden, x, torch.zeros(1, dtype=torch.int32))


@runs_here
@pytest.mark.parametrize("scales", [None, {"generator.bottleneck.r0.conv1": 1.0}])
def test_a_network_without_scales_is_refused(scales: dict[str, float] | None) -> None:
    with pytest.raises(OptionError, match="eamfmeg calibrate"):
        Engine(NetworkParameters(tiny(), scales), device="cpu", precision="int8")


@runs_here
def test_int8_is_never_chosen_and_says_what_it_is() -> None:
    assert choose_backend(device="cpu").decoder != "int8"
    plan = choose_backend(device="cpu", precision="int8")
    assert plan.decoder == "int8" and plan.backend == "cpu" and plan.dtype == torch.float32
    assert "residual blocks in int8" in plan.reason and ("bf16" in plan.reason or "fp32" in plan.reason)
    with pytest.raises(OptionError, match="'sparse' with precision 'int8'"):
        choose_backend(device="cpu", precision="int8", update="sparse")


def test_int8_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="'int8' with backend 'reference'"):
        choose_backend(device="cpu", precision="int8", backend="reference")
    ask = why_no_int8.__wrapped__
    monkeypatch.setattr(int8, "multiplies_int8", lambda: False)
    assert "no instructions" in ask()
    monkeypatch.setattr(int8, "multiplies_int8", lambda: True)
    monkeypatch.setattr(int8.Int8Convolution, "add_to", lambda self, total, x: None)
    assert "wrong sums" in ask()
    monkeypatch.setattr(int8, "Int8Convolution", None)
    assert "TypeError" in ask()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "without oneDNN" in ask()


@pytest.mark.skipif(bool(why_missing("_C")), reason=f"NOT RUN: {why_missing('_C')}")
def test_the_refusal_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eamfmeg_fast.engine.backends.why_no_int8", lambda: "this processor lacks it")
    with pytest.raises(BackendError, match="precision 'int8', but this processor lacks it") as caught:
        choose_backend(device="cpu", precision="int8")
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
