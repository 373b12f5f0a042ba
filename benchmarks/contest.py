"""One network's contest: the kit is made, all variants are opened, and what they draw is compared with float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from baselines import RIVALS
from baselines.kit import WEIGHTS, Kit, make_inputs
from rounds import Contestant

HERE = Path(__file__).parent
_CHECKED = 4
_ARTEFACT_S = 420.0
_OPEN_S = 420.0


def environment(threads: int, kit: Kit, openmp: bool) -> dict[str, str]:
    """For a worker: as many threads, each on its own processor; they may spin, since it is stopped between batches.

    Args:
        openmp: it computes with OpenMP. Where OpenMP is only loaded beside another runtime, binding its first thread
            would bind all threads of the other to one processor.
    """
    known = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    bound = {"OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true", "OMP_PLACES": "cores"} if openmp else {}
    # What one run has compiled the next one finds, as a user's second start does.
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(kit.path("inductor"))}
    return {**known, **bound, **compiled, "PYTHONPATH": os.pathsep.join(paths)}


@dataclass(frozen=True)
class Clip:
    """What is drawn: a clip of the lab, or the user's own files, cut to the largest square in the middle.

    Attributes:
        frames: how many. driving, target: paths; without a target the clip's first frame is it.
    """

    frames: int = 300
    driving: Path | None = None
    target: Path | None = None

    def scene(self, size: int) -> Any:
        """Target and frames, `size` pixels on a side."""
        from eamfmeg_fast.evaluate.scene import Scene, lab_scene

        if self.driving is None:
            return lab_scene(size, self.frames)
        from eamfmeg_fast.media import open_clip, read_picture

        with open_clip(self.driving) as clip:
            shots = [_square(frame.image, size) for frame, _ in zip(clip, range(self.frames))]
        target = _square(read_picture(self.target), size) if self.target else shots[0]
        return Scene(target, np.stack(shots))


def _square(image: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    cut = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side]))
    return np.array(cut.resize((size, size), Image.Resampling.BILINEAR))


def make_kit(folder: Path, spec: str, clip: Clip) -> Kit:
    """Scene, truth and the target's part, unless they are there."""
    from eamfmeg_fast.evaluate.scene import truth_of

    kit = Kit(folder, spec)
    folder.mkdir(parents=True, exist_ok=True)
    if not kit.path("truth.npz").exists():
        say(f"{spec}: making the scene and its float64 truth")
        network = kit.network()
        clip.scene(network.config.size).save(kit.path("scene.npz"))
        make_inputs(kit)
        truth_of(network, kit.scene(), _CHECKED).save(kit.path("truth.npz"))
    if "@" not in spec and not kit.path(WEIGHTS).exists():
        say(f"{spec}: measuring its activations for int8")
        _make(kit, WEIGHTS)
    return kit


@dataclass
class Field:
    """Who takes part: open contestants with their facts, and why others do not."""

    contestants: dict[str, Contestant] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """End all processes."""
        for contestant in self.contestants.values():
            contestant.close()


def make_artefacts(kit: Kit, names: Sequence[str], failed: dict[str, str]) -> None:
    """Export, convert and quantise what the rivals `names` need; those that cannot have it are `failed`."""
    broken: dict[str, str] = {}
    for name in names:
        for artefact in RIVALS[name].artefacts:
            if artefact not in broken and not kit.path(artefact).exists():
                why = _make(kit, artefact)
                broken |= {artefact: why} if why else {}
            if artefact in broken:
                failed[name] = f"{artefact}: {broken[artefact]}"


def _make(kit: Kit, artefact: str) -> str:
    say(f"{kit.spec}: making {artefact}")
    command = [sys.executable, "-P", "-m", "baselines.kit", str(kit.folder), kit.spec, artefact]
    try:
        run = subprocess.run(
            command, env=environment(1, kit, False), capture_output=True, text=True, timeout=_ARTEFACT_S
        )
    except subprocess.TimeoutExpired:
        return f"not made within {_ARTEFACT_S:.0f} s"
    if run.returncode == 0 and kit.path(artefact).exists():
        return ""
    return (run.stderr.strip().splitlines() or ["no word"])[-1][:300]


def enter(kit: Kit, names: Sequence[str], threads: int, end: float) -> Field:
    """Start the variants one after another, until it is `end` (monotonic clock)."""
    found = Field()
    for name in names:
        absent = RIVALS[name].missing() if name in RIVALS else []
        if absent:
            found.failed[name] = f"not installed: {', '.join(absent)}"
    make_artefacts(kit, [name for name in names if name in RIVALS and name not in found.failed], found.failed)
    for name in names:
        if name in found.failed:
            continue
        if time.monotonic() > end:
            found.failed[name] = "not started: no time was left"
            continue
        _open(kit, name, threads, found)
        say(f"{kit.spec}: {name}: {found.failed.get(name, 'open')}")
    return found


def _open(kit: Kit, name: str, threads: int, found: Field) -> None:
    plain = "".join(c if c.isalnum() else "-" for c in name)
    drawn = kit.path(f"drawn-{plain}.npz")
    with np.load(kit.path("truth.npz")) as truth:
        checked = truth["numbers"].tolist()
    request = {"name": name, "folder": str(kit.folder), "spec": kit.spec, "threads": threads, "checked": checked}
    request |= {"drawn": str(drawn), "began": time.time()}
    openmp = name not in RIVALS or RIVALS[name].module == "with_torch"
    command = [sys.executable, "-P", str(HERE / "worker.py"), json.dumps(request)]
    contestant = Contestant(name, command, environment(threads, kit, openmp), kit.path(f"log-{plain}.txt"))
    said = contestant.ready(_OPEN_S)
    if "failed" in said:
        found.failed[name] = said["failed"]
        contestant.close()
        return
    found.contestants[name] = contestant
    found.facts[name] = {**said, **_distance(kit, drawn)}


def _distance(kit: Kit, drawn: Path) -> dict[str, float | None]:
    from eamfmeg_fast.evaluate.scene import accuracy, load_truth

    with np.load(drawn) as kept:
        return accuracy(load_truth(kit.path("truth.npz")), list(kept["pictures"]), list(kept["kp"])).to_dict()


def say(text: str) -> None:
    """For people, on standard error."""
    print(text, file=sys.stderr, flush=True)
