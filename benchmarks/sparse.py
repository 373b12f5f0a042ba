"""The sparse update against dense decoding, frame by frame on the same clip: `python benchmarks/sparse.py`.

Every frame is drawn densely, then densely with frames that repeat answered from memory (the engine's "exact" update),
then with each tolerance in turn (its "sparse" update, which has that memory too), in one process. The front (thumbnail,
keypoints, flow) is computed and counted for every frame that is not answered from memory. Networks with seeded weights
have no sensible motion: their decoder then follows the flow and occlusion that `small` finds, while their own front is
timed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import Clip
from engine_table import between
from facts import commit, machine

from eamfmeg_fast.engine import Engine, NetworkParameters, Parameters, use_threads
from eamfmeg_fast.engine.backends import Backend
from eamfmeg_fast.engine.cpu.backend import PRODUCTS, CpuBackend
from eamfmeg_fast.engine.cpu.decoder import Decoder
from eamfmeg_fast.engine.cpu.front import Motion
from eamfmeg_fast.engine.cpu.sparse import SparseDecoder, Tolerance
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.reuse import Reusing
from eamfmeg_fast.engine.state import Drawn, TargetState
from eamfmeg_fast.network import Keypoints, build_network, fill_seeded
from eamfmeg_fast.weights import StoredWeights, pretrained_names

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sparse.json"
README = HERE / "README.md"
BEGIN, END = "<!-- made by benchmarks/sparse.py -->", "<!-- end of sparse -->"
_GUIDE = "small"
_WARMUPS = 2


def open_parameters(name: str) -> Parameters:
    """Shipped weights, or a preset's seeded ones."""
    return StoredWeights(name) if name in pretrained_names() else NetworkParameters(fill_seeded(build_network(name)))


@dataclass
class Guided:
    """The CPU backend with another decoder, which follows `guide` where there is one; see `engine.backends.Backend`.

    Attributes:
        backend: whose front is used. decoder: draws.
    """

    backend: CpuBackend
    decoder: Decoder
    guide: Motion | None = None

    def prepare(self, pictures: torch.Tensor) -> TargetState:
        """As the backend."""
        return self.backend.prepare(pictures)

    def detect(self, frames: torch.Tensor) -> Keypoints:
        """As the backend."""
        return self.backend.detect(frames)

    def draw(self, state: TargetState, moved: Keypoints) -> Drawn:
        """As the backend, one target and one frame."""
        found = self.backend._motion.find(state.thumbnail.permute(0, 2, 3, 1), state.keypoints, moved)
        motion = self.guide or found
        picture = self.decoder.draw(state, motion)
        return Drawn(picture, motion.flow, motion.occlusion[:, None], self.decoder.active)


@dataclass
class Track:
    """One way to decode, and what came of it.

    Attributes:
        guided: draws. reuses: frames that repeat are answered from memory. change: the tolerance; None: dense.
        times_ms: of every frame, front included. psnr: to dense, of every frame. active: share of tiles decoded.
    """

    guided: Guided
    reuses: bool = False
    change: float | None = None
    times_ms: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend: Backend = Reusing(self.guided) if self.reuses else self.guided

    def row(self, dense: Track, exact: Track) -> dict[str, Any]:
        """Its figures beside those of the dense decoder, without and with memory."""
        mean = float(np.mean(self.times_ms))
        return {
            "update": "sparse" if self.change is not None else "exact" if self.reuses else "dense",
            "change": self.change,
            "mean_ms": mean,
            "p50_ms": float(np.median(self.times_ms)),
            "faster": float(np.mean(dense.times_ms)) / mean,
            "faster_than_exact": float(np.mean(exact.times_ms)) / mean,
            "active": float(np.mean(self.active)),
            "psnr_min_db": min(self.psnr),
            "psnr_mean_db": float(np.mean(self.psnr)),
        }


def motions(frames: np.ndarray, target: np.ndarray) -> list[Motion]:
    """Flow and occlusion of every frame as the shipped network finds them."""
    engine = Engine(StoredWeights(_GUIDE), backend="cpu", update="dense")
    state, initial = engine.prepare(target), engine.detect(frames[0])
    drawn = (engine.step(state, initial, engine.detect(frame), gain=1.0) for frame in frames)
    return [Motion(one.flow.clone(), one.occlusion[:, 0].clone()) for one in drawn]


def measure(
    name: str, frames: np.ndarray, target: np.ndarray, tolerances: Sequence[Tolerance], precision: str
) -> dict[str, Any]:
    """All tolerances on one clip and target."""
    parameters = open_parameters(name)
    engine = Engine(parameters, backend="cpu", precision=precision, update="dense")
    backend = engine._built
    if not isinstance(backend, CpuBackend):
        raise SystemExit(f"the CPU backend does not run here: {engine.plan.reason}")
    guides = None if name == _GUIDE else motions(frames, target)
    state, initial = engine.prepare(target), engine.detect(frames[0])
    products = PRODUCTS[engine.plan.decoder]
    dense, exact = (
        Track(Guided(backend, Decoder(parameters, products, Workspace())), reuses) for reuses in (False, True)
    )
    tracks = [dense, exact]
    for tolerance in tolerances:
        decoder = SparseDecoder(parameters, products, Workspace(), tolerance)
        tracks.append(Track(Guided(backend, decoder), True, tolerance.change))

    def draw(chosen: Backend, frame: torch.Tensor) -> Drawn:
        moved = engine.moved(state.keypoints, initial, chosen.detect(frame), motion="relative", gain=1.0)
        return chosen.draw(state, moved)

    with torch.inference_mode():
        run(tracks, [torch.from_numpy(frame)[None] for frame in frames], guides, draw)
    repeats = sum(bool((a == b).all()) for a, b in zip(frames, frames[1:])) / len(frames)
    head = {"network": name, "precision": engine.plan.decoder, "frames": len(frames), "repeated": repeats}
    return head | {"rows": [track.row(dense, exact) for track in tracks]}


def run(
    tracks: list[Track],
    frames: list[torch.Tensor],
    guides: list[Motion] | None,
    draw: Callable[[Backend, torch.Tensor], Drawn],
) -> None:
    """Draw all frames with all tracks, the first of which is what the others are compared with."""
    for track in tracks:
        for _ in range(_WARMUPS if track.change is None else 0):
            draw(track.guided, frames[0])
    for number, frame in enumerate(frames):
        dense = None
        for track in tracks:
            track.guided.guide = guides[number] if guides else None
            begin = time.perf_counter()
            drawn = draw(track.backend, frame)
            track.times_ms.append((time.perf_counter() - begin) * 1e3)
            track.active.append(drawn.active)
            dense = drawn.images if dense is None else dense
            track.psnr.append(_psnr(drawn.images, dense))


def _psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    error = float(((a.double() - b.double()) ** 2).mean())
    return 99.0 if error == 0 else min(99.0, float(10 * np.log10(255**2 / error)))


def table(result: dict[str, Any]) -> str:
    """All clips in Markdown."""
    return "\n\n".join(_clip(found) for found in result["clips"])


def _clip(found: dict[str, Any]) -> str:
    lines = [
        f"**`{found['network']}`**, {found['precision']} decoder, clip `{found['clip']}` on `{found['target']}`: "
        f"{found['frames']} frames, {found['repeated']:.0%} of them repeated; {found['threads']} threads, "
        f"commit {found['commit']}.",
        "",
        "| tolerance | tiles decoded | ms a frame, mean | p50 | times dense | times exact | "
        "PSNR to dense, min (mean) dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        label = row.get("update", "dense") if row["change"] is None else f"{row['change']:g}"
        quality = "-" if row["change"] is None else f"{row['psnr_min_db']:.1f} ({row['psnr_mean_db']:.1f})"
        exact = f"{row['faster_than_exact']:.2f}" if "faster_than_exact" in row else "-"
        times = f"{row['mean_ms']:.1f} | {row['p50_ms']:.1f} | {row['faster']:.2f} | {exact}"
        lines.append(f"| {label} | {row['active']:.1%} | {times} | {quality} |")
    return "\n".join(lines)


def _clips(options: argparse.Namespace) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    for driving in options.driving or [None]:
        for target in options.target or [None]:
            scene = Clip(options.frames, driving, target).scene(256)
            yield (
                driving.name if driving else "of the lab",
                target.name if target else "its own face",
                scene.frames,
                scene.target,
            )


def main() -> None:
    """Measure what the command line names, save it, show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driving", type=Path, action="append", help="clips; without one, a clip of the lab")
    parser.add_argument("--target", type=Path, action="append", help="pictures; without one, the clip's first frame")
    parser.add_argument("--networks", default="eamfmeg,small")
    parser.add_argument("--changes", default="0.01,0.015,0.02,0.03,0.05")
    parser.add_argument("--dense-above", type=float, default=Tolerance.dense_above)
    parser.add_argument("--refresh", type=int, default=Tolerance.refresh)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--frames", type=int, default=300, help="at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="another results file; the README then stays as it is")
    options = parser.parse_args()
    use_threads(options.threads, pin=True)
    rest = {"dense_above": options.dense_above, "refresh": options.refresh}
    tolerances = [Tolerance(float(word), **rest) for word in options.changes.split(",")]
    result: dict[str, Any] = {"machine": machine(), "clips": []}
    for clip, target, frames, face in _clips(options):
        for network in options.networks.split(","):
            found = measure(network, frames, face, tolerances, options.precision)
            found |= {"clip": clip, "target": target, "threads": options.threads, "commit": commit()}
            result["clips"].append(found)
            (options.out or RESULTS).write_text(json.dumps(result, indent=1) + "\n")
            print(_clip(found), flush=True)
    if options.out is None:
        README.write_text(between(README.read_text(), BEGIN, END, table(result)))


if __name__ == "__main__":
    main()
