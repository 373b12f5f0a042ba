"""The sparse update against dense decoding, frame by frame on the same clip: `python benchmarks/sparse.py`.

Every frame is drawn densely and then with each tolerance in turn, in one process. The front (thumbnail, keypoints,
flow) is computed and counted for every frame that is not bit for bit the one before. Networks with seeded weights have
no sensible motion: their decoder then follows the flow and occlusion that `small` finds, while their own front is timed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import Clip
from engine_table import between
from facts import commit, machine

from eamfmeg_fast.engine import Engine, NetworkParameters, Parameters, use_threads
from eamfmeg_fast.engine.cpu.backend import PRODUCTS, CpuBackend
from eamfmeg_fast.engine.cpu.decoder import Decoder
from eamfmeg_fast.engine.cpu.front import Motion
from eamfmeg_fast.engine.cpu.sparse import SparseDecoder, Tolerance
from eamfmeg_fast.engine.cpu.workspace import Workspace
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
class Track:
    """One way to decode, and what came of it.

    Attributes:
        times_ms: of every frame, front included. psnr: to dense, of every frame. active: share of tiles decoded.
    """

    decoder: Decoder
    change: float | None
    times_ms: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)
    picture: torch.Tensor | None = None

    def row(self, dense: Track) -> dict[str, Any]:
        """Its figures beside those of the dense decoder."""
        mean = float(np.mean(self.times_ms))
        return {
            "change": self.change,
            "mean_ms": mean,
            "p50_ms": float(np.median(self.times_ms)),
            "faster": float(np.mean(dense.times_ms)) / mean,
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
    dense = Track(Decoder(parameters, products, Workspace()), None)
    tracks = [dense]
    for tolerance in tolerances:
        tracks.append(Track(SparseDecoder(parameters, products, Workspace(), tolerance), tolerance.change))

    def front(frame: torch.Tensor) -> Motion:
        moved = engine.moved(state.keypoints, initial, backend.detect(frame), motion="relative", gain=1.0)
        thumbnail = state.thumbnail.permute(0, 2, 3, 1)
        return backend._motion.find(thumbnail, state.keypoints, Keypoints(*moved))

    with torch.inference_mode():
        _run(tracks, [torch.from_numpy(frame)[None] for frame in frames], guides, front, state)
    repeats = sum(bool((a == b).all()) for a, b in zip(frames, frames[1:])) / len(frames)
    head = {"network": name, "precision": engine.plan.decoder, "frames": len(frames), "repeated": repeats}
    return head | {"rows": [track.row(dense) for track in tracks]}


def _run(tracks: list[Track], frames: list[torch.Tensor], guides: list[Motion] | None, front: Any, state: Any) -> None:
    for _ in range(_WARMUPS):
        front(frames[0])
        tracks[0].decoder.draw(state, guides[0] if guides else front(frames[0]))
    last: torch.Tensor | None = None
    for number, frame in enumerate(frames):
        dense = None
        for track in tracks:
            begin = time.perf_counter()
            if track.change is not None and last is not None and torch.equal(last, frame):
                track.active.append(0.0)
            else:
                found = front(frame)
                track.picture = track.decoder.draw(state, guides[number] if guides else found)
                track.active.append(track.decoder.active)
            track.times_ms.append((time.perf_counter() - begin) * 1e3)
            dense = track.picture if dense is None else dense
            track.psnr.append(_psnr(track.picture, dense))
        last = frame


def _psnr(a: torch.Tensor | None, b: torch.Tensor | None) -> float:
    if a is None or b is None:
        return 0.0
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
        "| tolerance | tiles decoded | ms a frame, mean | p50 | times dense | PSNR to dense, min (mean) dB |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        label = "dense" if row["change"] is None else f"{row['change']:g}"
        quality = "-" if row["change"] is None else f"{row['psnr_min_db']:.1f} ({row['psnr_mean_db']:.1f})"
        times = f"{row['mean_ms']:.1f} | {row['p50_ms']:.1f} | {row['faster']:.2f}"
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
