"""The stage `engine`: whole frames, uint8 on the device to uint8 on the device; errors beside every speed."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from harness import take_turns
from torch import Tensor

from eamfmeg_fast.config import PRESETS, HourglassConfig
from eamfmeg_fast.engine import Engine, NetworkParameters, choose_backend
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.engine.reference import ReferenceBackend
from eamfmeg_fast.network import Keypoints, Network, build_network, fill_seeded, move
from eamfmeg_fast.network.relative import hull_scale
from gpu.machine import Machine
from gpu.pool import Job, run_jobs
from gpu.report import Report

Frame = Callable[[], tuple[Tensor, ...]]
"""One call of a variant: pictures and keypoints, and what else there is."""

MODES = ("max-autotune", "reduce-overhead")
_FULL, _LIVE = "eamfmeg", "small"
_BATCH = 16
_SECONDS = 1.5
_ENGINE_S, _COMPILE_S, _RIVALS_S = 90.0, 100.0, 60.0
_FLOORS = {"fp32": 60.0, "fp16": 40.0, "bf16": 34.0}
"""PSNR in dB to float64, below which a decoder has a fault and gets no speed."""
_MOST_SHIFT_PX = 0.01
GOALS = {"ms at batch 1": 0.8, "frames/s at batch 16": 2200.0, "times eager": 8.0, "times max-autotune": 1.3}
"""Reported beside what was found; nothing fails by them."""


def engine_stage(report: Report, machine: Machine, deadline: float) -> None:
    """The engine alone first, so that it is known whatever the rivals' compiler does; then against them."""
    rows: dict[str, Any] = {}

    def each(job: Job, result: dict[str, Any]) -> None:
        rows[job["name"]] = result
        report.put(frames=rows, goals=goals(rows))
        if job["what"] == "engine":
            report.fault(*(f"{job['name']}: {why}" for why in faults_of(result)))

    first: list[Job] = [{"kind": "frame", "what": "engine", "network": n, "name": n} for n in (_FULL, _LIVE)]
    run_jobs(first, deadline, each, processes=1, job_s=_ENGINE_S)
    builds: list[Job] = [
        {"kind": "frame", "what": "compile", "mode": mode, "name": f"compile {mode}"} for mode in MODES
    ]
    run_jobs(builds, deadline - 0.3 * max(0.0, deadline - time.monotonic()), each, job_s=_COMPILE_S)
    ready = [job["mode"] for job in builds if "error" not in rows[job["name"]]]
    last: list[Job] = [{"kind": "frame", "what": "rivals", "modes": ready, "name": f"{_FULL} and rivals"}]
    run_jobs(last, deadline, each, processes=1, job_s=_RIVALS_S)


def faults_of(result: Mapping[str, Any]) -> list[str]:
    """Why an engine's figures are no pass."""
    if "error" in result:
        return [str(result["error"])]
    found = [f"{name}: {row['fault']}" for name, row in result["variants"].items() if row.get("fault")]
    return found + [f"without graphs: {why}" for why in result.get("no_graphs", {}).values() if why]


def goals(rows: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What was wanted of the full-size network and what was found, as far as it is known."""
    alone = rows.get(_FULL, {}).get("variants", {})
    beside = rows.get(f"{_FULL} and rivals", {}).get("variants", {})
    found: dict[str, float] = {}
    if "ms" in alone.get("fp16, batch 1", {}):
        found["ms at batch 1"] = alone["fp16, batch 1"]["ms"]["p50"]
    if "frames_per_s" in alone.get(f"fp16, batch {_BATCH}", {}):
        found["frames/s at batch 16"] = alone[f"fp16, batch {_BATCH}"]["frames_per_s"]
    ours = beside.get("fp16, batch 1", {}).get("ms")
    for name, rival in (
        ("times eager", "eager, target encoded each time"),
        ("times max-autotune", "max-autotune, fp16"),
    ):
        if ours and "ms" in beside.get(rival, {}):
            found[name] = beside[rival]["ms"]["p50"] / ours["p50"]
    return {name: {"goal": GOALS[name], "found": value} for name, value in found.items()}


@dataclass(frozen=True)
class Scene:
    """Pictures on the device, and what float64 makes of them."""

    network: Network
    target: Tensor
    initial: Tensor
    driving: Tensor
    images: Tensor
    keypoints: Tensor


def frame_job(machine: Machine, job: Job) -> dict[str, Any]:
    """All figures of one job."""
    if job["what"] == "compile":
        return compile_job(machine, job["mode"])
    if job["what"] == "engine":
        return engine_job(machine, job["network"])
    scene = scene_of(machine, _FULL, 1)
    variants: dict[str, Frame] = {}
    words = _our_variants(machine, scene, ("fp16",), variants)
    variants |= {name: make(scene) for name, make in eager_rivals().items()}
    variants |= {f"{mode}, fp16": compiled(scene, mode, machine) for mode in job["modes"]}
    return {"variants": measure(machine, scene, variants), "no_graphs": words}


def engine_job(machine: Machine, name: str) -> dict[str, Any]:
    """Latency at batch 1 and throughput at batch 16 in each type, and from host to host."""
    found: dict[str, Any] = {"variants": {}, "no_graphs": {}}
    for batch in (1, _BATCH if machine.device == "cuda" else 2):
        scene, variants = scene_of(machine, name, batch), dict[str, Frame]()
        found["no_graphs"] |= _our_variants(
            machine, scene, ("fp16", "bf16", "fp32") if batch == 1 else ("fp16",), variants
        )
        found["variants"] |= measure(machine, scene, variants)
        found[f"host to host, batch {batch}"] = host_to_host(machine, scene, batch)
    return found


def scene_of(machine: Machine, name: str, batch: int) -> Scene:
    """A seeded network of a preset, smaller in a rehearsal; other pictures for each frame."""
    config = PRESETS[name]
    if machine.device != "cuda":
        tiny = HourglassConfig(4, 2, 8)
        config = replace(config, keypoint=tiny, dense_motion=tiny, generator_expansion=4, residual_blocks=1, size=64)
    network = fill_seeded(build_network(config))
    made = torch.Generator().manual_seed(5)
    low = torch.rand(batch + 2, 3, 16, 16, generator=made) * 255
    smooth = torch.nn.functional.interpolate(low, size=(config.size, config.size), mode="bicubic")
    noise = torch.randn(smooth.shape, generator=made) * 4
    pictures = (smooth + noise).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().to(machine.device)
    target, initial, driving = pictures[:1], pictures[1:2], pictures[2:]
    exact = ReferenceBackend(network, torch.device(machine.device), torch.float64)
    frames = [_reference(exact, target, initial)(frame) for frame in driving.split(1)]
    images, points = (torch.cat(parts) for parts in list(zip(*frames))[:2])
    return Scene(network, target, initial, driving, images, points)


def _reference(
    backend: ReferenceBackend, target: Tensor, initial: Tensor, encode: bool = False
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The reference network for one driving frame after the other, with the target encoded once or each time."""
    state, start = backend.prepare(target), backend.detect(initial)
    config = backend.network.config
    scale = hull_scale(state.keypoints.kp, start.kp) if config.adapt_scale else None

    def frame(driving: Tensor) -> tuple[Tensor, Tensor]:
        now = backend.prepare(target) if encode else state
        found = backend.detect(driving)
        moved = move(now.keypoints, start, found, gain=config.gain, scale=scale)
        return backend.draw(now, moved).images, found.kp

    return frame


def _our_variants(machine: Machine, scene: Scene, words: tuple[str, ...], variants: dict[str, Frame]) -> dict[str, str]:
    """Puts the engine's whole step in each type among the variants; why there are no graphs, where there are none."""
    told = {}
    for word in words:
        plan = replace(choose_backend(device=machine.device), backend="cuda", decoder=word, reason="a measurement")
        backend = CudaBackend(NetworkParameters(scene.network), plan)
        state, start = backend.prepare(scene.target), backend.detect(scene.initial)
        config = scene.network.config
        scale = hull_scale(state.keypoints.kp, start.kp) if config.adapt_scale else torch.ones_like(start.kp[:, 0, 0])
        program = backend.frame_program(state, start, config.gain * scale, scene.driving)
        program.load("frames", None, {"frames": scene.driving})

        def frame(program: Any = program) -> tuple[Tensor, ...]:
            images, _, _, _, keypoints, _ = program.run()
            return images, keypoints

        name = f"{word}, batch {scene.driving.shape[0]}"
        variants[name] = frame
        frame()
        if machine.device == "cuda":
            told[name] = backend.shell.why_no_graphs
        if backend.plan.decoder != word:
            told[name] = backend.plan.reason
    return told


def eager_rivals() -> dict[str, Callable[[Scene], Frame]]:
    """PyTorch without a compiler, float32 as it comes (TF32 in convolutions), the target encoded each time or once."""

    def maker(encode: bool) -> Callable[[Scene], Frame]:
        def make(scene: Scene) -> Frame:
            backend = ReferenceBackend(scene.network, scene.target.device, torch.float32)
            frame = _reference(backend, scene.target, scene.initial, encode)
            return lambda: frame(scene.driving)

        return make

    return {"eager, target encoded each time": maker(True), "eager, target encoded once": maker(False)}


def compiled(scene: Scene, mode: str, machine: Machine) -> Frame:
    """The same under autocast to float16, channels last, by `torch.compile` in a mode that uses CUDA graphs."""
    kind = scene.target.device.type
    backend = ReferenceBackend(scene.network, scene.target.device, torch.float32)
    backend.network.to(memory_format=torch.channels_last)
    plain = _reference(backend, scene.target, scene.initial)

    def frame(driving: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(kind, torch.float16 if kind == "cuda" else torch.bfloat16):
            return plain(driving)

    if machine.device == "cuda":
        optimised = torch.compile(frame, mode=mode, dynamic=False)
    else:
        optimised = torch.compile(frame, backend="eager", dynamic=False)
    return lambda: optimised(scene.driving)


def compile_job(machine: Machine, mode: str) -> dict[str, Any]:
    """Compile a rival: the process that times it finds the kernels in the cache."""
    if machine.device == "cuda":
        import torch._inductor.config as inductor

        inductor.compile_threads = max(1, (os.cpu_count() or 1) // len(MODES))
    start = time.monotonic()
    compiled(scene_of(machine, _FULL, 1), mode, machine)()
    machine.synchronize()
    return {"seconds": time.monotonic() - start}


def measure(machine: Machine, scene: Scene, variants: Mapping[str, Frame]) -> dict[str, dict[str, Any]]:
    """Times, interleaved, and errors; what computes something else gets no time."""
    table: dict[str, dict[str, Any]] = {}
    turns = {}
    for name, frame in variants.items():
        try:
            table[name] = errors(scene, frame(), name)
            if not table[name]["fault"]:
                turns[name] = machine.launches([frame])
        except Exception as error:  # a rival that does not run is a finding; ours is a fault
            table[name] = {"fault": f"{type(error).__name__}: {error}"[:600]}
    for name, timing in take_turns(turns, _SECONDS).items():
        table[name]["ms"] = dataclasses.asdict(timing)
        table[name]["frames_per_s"] = 1e3 * scene.driving.shape[0] / timing.p50
    return table


def errors(scene: Scene, results: tuple[Tensor, ...], name: str) -> dict[str, Any]:
    """PSNR of the pictures and shift of the keypoints, both to float64; rivals have no limits."""
    images, keypoints = results[0].double(), results[1].double()
    psnr = -10 * torch.log10(((images - scene.images) / 255).square().mean().clamp_min(1e-12)).item()
    shift = (keypoints - scene.keypoints).abs().max().item() * scene.driving.shape[1] / 2
    floor = _FLOORS.get(name.split(",")[0], 0.0)
    fault = ""
    if floor and not (psnr >= floor and shift <= _MOST_SHIFT_PX):
        wanted = f"{floor:g} dB and at most {_MOST_SHIFT_PX} px"
        fault = f"{psnr:.1f} dB, keypoints off by {shift:.2g} px, where {wanted} are wanted"
    return {"psnr_db": psnr, "keypoints_px": shift, "fault": fault}


def host_to_host(machine: Machine, scene: Scene, batch: int) -> dict[str, float]:
    """Milliseconds a frame by the host's clock, pictures in and out as NumPy arrays: one by one, and as a stream."""
    engine = Engine(scene.network, device=machine.device)
    # No frame like the one before it: an engine may know such a frame's picture.
    frames = [np.roll(x.numpy(), i, 0) for i in range(0, 24, 3) for x in scene.driving.cpu()]
    state, start = engine.prepare(scene.target[0].cpu().numpy()), engine.detect(scene.initial[0].cpu().numpy())
    count = 4 * batch if machine.device != "cuda" else 192
    many = (frames * count)[:count]

    def one_by_one() -> Keypoints | None:
        for frame in many[: max(4, count // 8)]:
            engine.step(state, start, engine.detect(frame))
        return None

    def stream() -> None:
        for _ in engine.stream(state, start, many, batch=batch):
            pass

    found = {}
    for name, run, number in (("one by one", one_by_one, max(4, count // 8)), ("stream", stream, count)):
        run()
        begin = time.perf_counter()
        run()
        found[name] = (time.perf_counter() - begin) * 1e3 / number
    return found
