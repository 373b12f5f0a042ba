"""What takes part: the rivals of `baselines`, and every plan of the engine. Runs inside the worker."""

from __future__ import annotations

import importlib
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from baselines import RIVALS
from baselines.kit import Kit, picture
from worker import Ready, held_mb, peak_mb, pin_busiest, to_and_fro

OURS = "eamfmeg_fast "
"""In front of a plan's name."""

_UNPINNED = ("ONNX Runtime fp32", "MNN fp32")
Drawn = tuple[np.ndarray, np.ndarray]
Build = Callable[[], Callable[[Any], Drawn]]
Made = Callable[[list[np.ndarray]], Any]


@dataclass(frozen=True)
class Shape:
    """How a plan is used: `batch` frames in one call, frames for `targets` targets in turn."""

    plan: str
    batch: int = 1
    targets: int = 1

    @property
    def name(self) -> str:
        """Of the variant."""
        batch = f", batch {self.batch}" if self.batch > 1 else ""
        return f"{OURS}{self.plan}{batch}{f', {self.targets} targets' if self.targets > 1 else ''}"


def shape_of(name: str) -> Shape:
    """The reverse of `Shape.name`."""
    found = re.fullmatch(r"(\S+?)(?:, batch (\d+))?(?:, (\d+) targets)?", name.removeprefix(OURS))
    if found is None:
        raise ValueError(f"no variant is called {name!r}")
    return Shape(found[1], int(found[2] or 1), int(found[3] or 1))


def open_variant(request: dict[str, Any]) -> Ready:
    """Open a variant: `request` holds name, folder, spec, threads and when the process was started."""
    kit = Kit(Path(request["folder"]), request["spec"])
    ours = request["name"].startswith(OURS)
    return _opened(kit, request, *(_plan(kit, request) if ours else _rival(kit, request)))


def _plan(kit: Kit, request: dict[str, Any]) -> tuple[Build, Made]:
    import torch

    from eamfmeg_fast.evaluate.speed import open_engine

    torch.set_num_threads(request["threads"])
    shape = shape_of(request["name"])
    return (lambda: _frames_call(open_engine(kit.parameters(), shape.plan, "cpu"), kit, shape)), list


def _rival(kit: Kit, request: dict[str, Any]) -> tuple[Build, Made]:
    rival = RIVALS[request["name"]]
    importlib.import_module(f"baselines.{rival.module}")
    return (lambda: rival.build(kit, request["threads"])), lambda frames: picture(frames[0])


def _frames_call(engine: Any, kit: Kit, shape: Shape) -> Callable[[list[np.ndarray]], Drawn]:
    """One call of the engine: at once where it takes batches, else one frame after another."""
    target = kit.target()
    states = itertools.cycle([engine.prepare(target) for _ in range(shape.targets)])
    initial = engine.detect(kit.first())
    together = shape.batch > 1 and hasattr(engine, "step_many")

    def call(frames: list[np.ndarray]) -> Drawn:
        state = next(states)
        if together:
            points = engine.detect_many(frames)
            return engine.step_many(state, initial, points)[0].image, points.kp[0].cpu().numpy()
        for frame in frames:
            points = engine.detect(frame)
            image = engine.step(state, initial, points).image
        return image, points.kp[0].cpu().numpy()

    return call


def _opened(kit: Kit, request: dict[str, Any], build: Build, made: Made) -> Ready:
    frames = kit.frames()
    batch = shape_of(request["name"]).batch if request["name"].startswith(OURS) else 1
    before, start = held_mb(), time.perf_counter()
    call = build()
    built = time.perf_counter()
    call(made([frames[0]] * batch))
    facts = {
        "build_s": round(built - start, 3),
        "first_frame_ms": round((time.perf_counter() - built) * 1e3, 3),
        "start_s": round(time.time() - request["began"], 3),
    }
    _draw_checked(call, [made([frames[number]] * batch) for number in request["checked"]], Path(request["drawn"]))
    unpinned = request["name"] in _UNPINNED
    return Ready(
        call,
        lambda number: made([frames[to_and_fro(number * batch + i, len(frames))] for i in range(batch)]),
        facts,
        settled=(lambda: pin_busiest(request["threads"])) if unpinned else (lambda: None),
        peak_mb=lambda: peak_mb() - before,
    )


def _draw_checked(call: Callable[[Any], Drawn], frames: list[Any], path: Path) -> None:
    """Keep what is compared with float64, by the parent: that needs memory and imports of its own."""
    pictures, points = [], []
    for frame in frames:
        drawn, kp = call(frame)
        # Some runtimes hand out their own memory, which the next frame overwrites.
        pictures.append(np.array(drawn).reshape(drawn.shape[-3:]))
        points.append(np.array(kp).reshape(kp.shape[-2:]))
    np.savez(path, pictures=np.stack(pictures), kp=np.stack(points))
