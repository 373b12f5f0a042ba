"""How fast an engine draws on this machine, what memory it takes, and how far it is from float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from eamfmeg_fast import errors
from eamfmeg_fast.engine import BACKENDS, Engine, Parameters, choose_backend
from eamfmeg_fast.errors import BackendError, EamfmegError, OptionError
from eamfmeg_fast.evaluate.scene import Accuracy, Array, Scene, lab_scene, truth_of
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights import StoredWeights, load_network

WORDS = ("fp32", "fp16", "bf16", "int8")
"""Precisions that are measured where a backend has them; float64 is what they are measured against."""

_PATIENCE_S = 600.0


@dataclass(frozen=True)
class PlanSpeed:
    """One plan on one machine.

    Attributes:
        plan: "backend/precision". reason: what that means, one sentence.
        frames: how many were timed; first_frame_ms: the one before them. prepare_ms: of the target.
        p50_ms, p95_ms, p99_ms: latency of a frame, detection and drawing; fps: frames a second over all of them.
        peak_mb: most memory beyond what the imports took. start_s: from the start of the process to the first frame.
        accuracy: distance from float64.
    """

    plan: str
    reason: str
    frames: int
    prepare_ms: float
    first_frame_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    peak_mb: float
    start_s: float
    accuracy: Accuracy

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, those of the accuracy among them."""
        row = asdict(self)
        return {**{name: value for name, value in row.items() if name != "accuracy"}, **row["accuracy"]}


def engine_plans(device: str = "auto", backends: Iterable[str] = BACKENDS) -> list[str]:
    """All plans that the engine accepts on this machine, as "backend/precision"."""
    return [f"{backend}/{word}" for backend in backends for word in WORDS if _accepts(backend, device, word)]


def plans_for(weights: str, device: str = "auto") -> list[str]:
    """All plans that the engine accepts on this machine for `weights`: int8 only with activation scales.

    Raises:
        WeightsError: as `weights.load_network`.
    """
    scaled = StoredWeights(weights).info.activation_scales is not None
    return [plan for plan in engine_plans(device) if scaled or not plan.endswith("/int8")]


def open_engine(network: Network | Parameters, plan: str, device: str = "auto") -> Engine:
    """The engine of a plan's name, which computes every frame anew.

    Raises:
        OptionError: no such plan. BackendError: it cannot run here, or another backend had to take its place.
    """
    backend, slash, precision = plan.partition("/")
    if not slash:
        raise OptionError(f"plan {plan!r}", "backend/precision", f"Known: {', '.join(engine_plans(device))}.")
    engine = Engine(network, backend=backend, precision=precision, device=device, update="dense")
    if backend not in ("auto", engine.plan.backend):
        raise BackendError(f"plan {plan!r} is not what runs: {engine.plan.reason}")
    return engine


def frame_call(engine: Engine, scene: Scene) -> Callable[[Array], tuple[Array, Array]]:
    """One driving frame, uint8 in, uint8 out: the target and the first frame are prepared here, once.

    Returns:
        A function from a frame uint8 `[S, S, 3]` to the picture uint8 `[S, S, 3]` and the keypoints `[K, 2]`.
    """
    state, initial = engine.prepare(scene.target), engine.detect(scene.frames[0])

    def call(frame: Array) -> tuple[Array, Array]:
        found = engine.detect(frame)
        image = engine.step(state, initial, found).image
        return image, found.kp[0].cpu().numpy()

    return call


def latencies(call: Callable[[Any], object], frames: Iterable[Any]) -> list[float]:
    """Milliseconds of `call` for each frame; what makes the frames is not timed."""
    times = []
    for frame in frames:
        start = time.perf_counter()
        call(frame)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """p50_ms, p95_ms, p99_ms and fps of latencies in milliseconds."""
    p50, p95, p99 = (float(value) for value in np.percentile(times, (50, 95, 99)))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "fps": 1e3 * len(times) / sum(times)}


def peak_mb() -> float:
    """Most memory that this process has held since it started its program, in MB of 2**20 bytes."""
    return _memory_mb("VmHWM")


def held_mb() -> float:
    """Memory that this process holds now, in MB of 2**20 bytes; without /proc the most that it has held."""
    return _memory_mb("VmRSS")


def _memory_mb(word: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(word)) / 1024
    except (OSError, StopIteration):
        import resource

        scale = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure_plans(
    weights: str, plans: Sequence[str] = (), *, frames: int = 100, threads: int | None = None, device: str = "auto"
) -> Iterator[PlanSpeed | EamfmegError]:
    """Measure plans one after another, each in a process of its own, on a clip of the lab.

    Args:
        weights: a name or a `.safetensors` file. plans: "backend/precision"; none: those of `plans_for`.
        frames: how many are timed. threads: of the processor; None: all. device: "auto", "cpu" or "cuda".

    Returns:
        In the order of `plans`, the figures, or the error of a plan that did not run.

    Raises:
        OptionError: no frames, no threads, or a plan that the engine does not know. WeightsError: as
            `weights.load_network`.
    """
    if frames < 1 or (threads is not None and threads < 1):
        raise OptionError(f"frames={frames}, threads={threads}", "at least 1 of each")
    known = engine_plans(device)
    for plan in plans:
        if plan not in known:
            raise OptionError(f"plan {plan!r}", ", ".join(known), "Check the spelling.")
    network, _ = load_network(weights)
    scene = lab_scene(network.config.size, frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene.save(folder / "scene.npz")
        truth_of(network, scene).save(folder / "truth.npz")
        del network, scene
        for plan in plans or plans_for(weights, device):
            yield _in_process(folder, {"weights": weights, "plan": plan, "threads": threads, "device": device})


def _in_process(folder: Path, request: dict[str, Any]) -> PlanSpeed | EamfmegError:
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    request |= {"folder": str(folder), "began": time.time()}
    command = [sys.executable, "-P", "-m", "eamfmeg_fast.evaluate.speed_child", json.dumps(request)]
    environment = os.environ | ({"OMP_NUM_THREADS": str(request["threads"])} if request["threads"] else {})
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return BackendError(f"plan {request['plan']} took more than {_PATIENCE_S:g} s", "", "Ask for fewer frames.")
    if not answer.is_file():
        words = (run.stderr.strip().splitlines() or ["no word"])[-1]
        return BackendError(f"plan {request['plan']} did not run: {words}")
    row = json.loads(answer.read_text())
    if "error" in row:
        kind = getattr(errors, row.pop("error"), EamfmegError)
        return cast(EamfmegError, kind(**row))
    return PlanSpeed(**{**row, "accuracy": Accuracy(**row["accuracy"])})


def _accepts(backend: str, device: str, precision: str) -> bool:
    try:
        choose_backend(backend, device, precision)
    except EamfmegError:
        return False
    return True
