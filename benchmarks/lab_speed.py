"""How fast the lab draws: faces per second of `sample_pairs`, on the CPU and on CUDA where there is one.

python benchmarks/lab_speed.py [--threads 2] [--repeats 5] [--out rows.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from eamfmeg_fast.lab import sample_pairs

CASES = {"cpu": ((128, 12), (256, 4), (512, 2)), "cuda": ((128, 64), (256, 32), (512, 8))}


def measure(device: str, size: int, pairs: int, repeats: int) -> dict[str, object]:
    """Best of `repeats` batches after one that is not counted; a pair is two faces."""
    seconds = []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        sample_pairs(pairs, size=size, seed=seed, motion="mixed", device=device)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    best = min(seconds[1:])
    return {"device": device, "size": size, "pairs": pairs, "seconds": round(best, 4), "faces_per_s": 2 * pairs / best}


def main() -> None:
    """Print one row of JSON per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, object]] = []
    for device, cases in CASES.items():
        if device == "cuda" and not torch.cuda.is_available():
            rows.append({"device": device, "result": "NOT RUN: no CUDA device"})
            print(json.dumps(rows[-1]))
            continue
        for size, pairs in cases:
            rows.append({**measure(device, size, pairs, options.repeats), "threads": options.threads})
            print(json.dumps(rows[-1]))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
