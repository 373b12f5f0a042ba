"""Many frames through one engine: its memory at step 100 and at the end. Exit 1 where it grew by more than allowed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.weights import StoredWeights, pretrained_names

MIB = 1 << 20
FIRST = 100


def resident() -> int:
    """Bytes of memory that this process really has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def frames(size: int, count: int = 7) -> list[np.ndarray]:
    """Smooth pictures that move; seven, so that no step sees the same as the one before."""
    rng = np.random.default_rng(1)
    wide = np.kron(rng.integers(0, 256, (20, 20, 3)), np.ones((size // 16, size // 16, 1))).astype(np.uint8)
    return [np.ascontiguousarray(wide[i : i + size, 2 * i : 2 * i + size]) for i in range(count)]


def soak(weights: str, steps: int, options: dict[str, str]) -> dict[str, float | int | str]:
    """Run `steps` frames; a preset's name that is not shipped gets seeded weights."""
    shipped = weights in pretrained_names()
    engine = Engine(StoredWeights(weights) if shipped else fill_seeded(build_network(weights)), **options)
    pictures = frames(engine.config.size)
    state, initial = engine.prepare(pictures[0]), engine.detect(pictures[1])
    begin, first = time.monotonic(), 0
    for step in range(1, steps + 1):
        engine.step(state, initial, engine.detect(pictures[step % len(pictures)]), gain=0.2)
        if step == FIRST:
            first = resident()
    end = resident()
    row: dict[str, float | int | str] = {"weights": weights, **options, "steps": steps, "plan": engine.plan.reason}
    return row | {
        "rss_mib_at_100": first / MIB,
        "rss_mib_at_end": end / MIB,
        "minutes": (time.monotonic() - begin) / 60,
    }


def main() -> None:
    """Soak what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="small", help="shipped weights, or a preset for seeded ones")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--allowed-mib", type=float, default=1.0)
    for option in ("precision", "backend", "update"):
        parser.add_argument(f"--{option}")
    given = vars(parser.parse_args())
    options = {name: given[name] for name in ("precision", "backend", "update") if given[name]}
    if given["steps"] <= FIRST:
        parser.error(f"--steps must be more than {FIRST}")
    row = soak(given["weights"], given["steps"], options)
    grown = float(row["rss_mib_at_end"]) - float(row["rss_mib_at_100"])
    sys.stdout.write(json.dumps(row | {"grown_mib": grown}, indent=1) + "\n")
    sys.exit(grown > given["allowed_mib"])


if __name__ == "__main__":
    main()
