"""The process that measures one plan: `speed.py` starts it, so that one plan's memory is not another's."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from eamfmeg_fast.errors import EamfmegError
from eamfmeg_fast.evaluate.scene import accuracy, load_scene, load_truth
from eamfmeg_fast.evaluate.speed import PlanSpeed, frame_call, held_mb, latencies, open_engine, peak_mb, percentiles
from eamfmeg_fast.weights import StoredWeights

_WARMUPS = 3


def measure(request: dict[str, Any]) -> PlanSpeed:
    """The figures of one plan; `request` holds weights, plan, device, threads, folder and when all began."""
    folder = Path(request["folder"])
    if request["threads"]:
        torch.set_num_threads(request["threads"])
    scene, truth = load_scene(folder / "scene.npz"), load_truth(folder / "truth.npz")
    before = held_mb()
    engine = open_engine(StoredWeights(request["weights"]), request["plan"], request["device"])
    start = time.perf_counter()
    call = frame_call(engine, scene)
    prepare_ms = (time.perf_counter() - start) * 1e3
    (first_ms,) = latencies(call, scene.frames[:1])
    start_s = time.time() - request["began"]
    found = [call(scene.frames[number]) for number in truth.numbers]
    latencies(call, scene.frames[:_WARMUPS])
    times = latencies(call, scene.frames)
    return PlanSpeed(
        plan=request["plan"],
        reason=engine.plan.reason,
        frames=len(times),
        prepare_ms=prepare_ms,
        first_frame_ms=first_ms,
        **percentiles(times),
        peak_mb=peak_mb() - before,
        start_s=start_s,
        accuracy=accuracy(truth, [picture for picture, _ in found], [kp for _, kp in found]),
    )


def main() -> None:
    """Measure what the command line asks for and leave the answer, or an error of ours, in its folder."""
    request = json.loads(sys.argv[1])
    try:
        speed = measure(request)
        row = {**vars(speed), "accuracy": vars(speed.accuracy)}
    except EamfmegError as error:
        row = {"error": type(error).__name__, "got": error.got, "expected": error.expected, "fix": error.fix}
    answer = Path(request["folder"]) / "answer.json"
    answer.write_text(json.dumps(row))


if __name__ == "__main__":
    main()
