"""How a frame's cost grows: with the picture's size, with the frames in one call, with the targets that take turns.

`python benchmarks/growth.py` measures every plan of the engine in rounds, and writes results/growth-*.json and the
table in benchmarks/README.md. Where the engine takes no batches, a batch is as many single calls.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import Clip, Field, enter, make_kit, say
from engine import KITS, key_of
from engine_table import README, RESULTS, between
from facts import commit, machine, slug
from rounds import Pace, Tally, play
from variants import Shape

BEGIN, END = "<!-- made by benchmarks/growth.py -->", "<!-- end of growth -->"
_FRAMES = 24


@dataclass(frozen=True)
class Point:
    """One point of one curve: `value` of `curve` ("size", "batch" or "targets") with a plan."""

    curve: str
    value: int
    size: int
    shape: Shape


def points(plans: list[str], base: int, sizes: list[int], batches: list[int], targets: list[int]) -> Iterator[Point]:
    """All points; every curve passes through `base` pixels, one frame, one target."""
    for plan in plans:
        yield from (Point("size", size, size, Shape(plan)) for size in sizes)
        yield from (Point("batch", n, base, Shape(plan, batch=n)) for n in batches)
        yield from (Point("targets", n, base, Shape(plan, targets=n)) for n in targets)


def main() -> None:
    """Measure, save, show."""
    from eamfmeg_fast.evaluate.speed import engine_plans

    options = _options()
    plans = [p for p in engine_plans("cpu") if not options.plans or p in options.plans.split(",")]
    curves = (_numbers(o) for o in (options.sizes, options.batches, options.targets))
    wanted = list(points(plans, options.base, *curves))
    field = Field()
    try:
        end = time.monotonic() + 60 * options.minutes
        _enter(field, wanted, options, time.monotonic() + 36 * options.minutes)
        pace = Pace(options.warmup, options.batch_s, 2)
        tallies, lost = play(field.contestants, rounds=options.rounds, end=end, pace=pace, after_round=_tell)
    finally:
        field.close()
    facts = machine()
    result = {"network": options.network, "machine": facts, "commit": commit(), "threads": options.threads}
    result |= {"date": datetime.date.today().isoformat(), "failed": field.failed | lost}
    result["points"] = [row for point in wanted if (row := _row(point, tallies, field.facts)) is not None]
    path = options.out or RESULTS / f"growth-{slug(facts)}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if options.out is None:
        README.write_text(between(README.read_text(), BEGIN, END, table(result)))
    print(table(result))


def _enter(field: Field, wanted: list[Point], options: argparse.Namespace, end: float) -> None:
    """Open the variants of all sizes; their names then begin with the size."""
    clip = Clip(_FRAMES)
    for size in dict.fromkeys(point.size for point in wanted):
        spec = f"{options.network}@{size}"
        kit = make_kit(KITS / f"{Path(spec).stem}-{key_of(clip, spec)}", spec, clip)
        names = list(dict.fromkeys(point.shape.name for point in wanted if point.size == size))
        found = enter(kit, names, options.threads, end)
        field.contestants |= {f"{size} {name}": contestant for name, contestant in found.contestants.items()}
        field.facts |= {f"{size} {name}": facts for name, facts in found.facts.items()}
        field.failed |= {f"{size} {name}": why for name, why in found.failed.items()}


def _tell(tallies: dict[str, Tally], failed: dict[str, str]) -> None:
    say(f"{max((len(tally.batches()) for tally in tallies.values()), default=0)} rounds")


def _row(point: Point, tallies: dict[str, Tally], said: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    name = f"{point.size} {point.shape.name}"
    batches = list(tallies[name].batches().values()) if name in tallies else []
    if not batches:
        return None
    medians = sorted(batch.median / point.shape.batch for batch in batches)
    return {
        "curve": point.curve,
        "plan": point.shape.plan,
        "value": point.value,
        "ms_a_frame": round(statistics.median(medians), 3),
        "lo_hi_ms": [round(medians[0], 3), round(medians[-1], 3)],
        "quiet": bool(tallies[name].kept),
        "psnr_db": said[name]["psnr_db"],
        "keypoint_shift_px": said[name]["keypoint_shift_px"],
    }


def table(result: dict[str, Any]) -> str:
    """The curves in Markdown: milliseconds a frame, lowest and highest round."""
    lines = [f"`{result['network']}`, {result['threads']} threads, commit {result['commit']}, {result['date']}:", ""]
    lines += ["| curve | plan | value: ms a frame (lo - hi) |", "|---|---|---|"]
    for curve, plan in dict.fromkeys((row["curve"], row["plan"]) for row in result["points"]):
        rows = [row for row in result["points"] if (row["curve"], row["plan"]) == (curve, plan)]
        cells = (
            f"{row['value']}: {row['ms_a_frame']:.1f}{'' if row['quiet'] else '*'} "
            f"({row['lo_hi_ms'][0]:.1f} - {row['lo_hi_ms'][1]:.1f})"
            for row in rows
        )
        lines.append(f"| {curve} | {plan} | {'; '.join(cells)} |")
    if any(not row["quiet"] for row in result["points"]):
        lines += ["", "A figure with * was never measured alone: other work ran in all batches."]
    return "\n".join(lines)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="small")
    parser.add_argument("--plans", default="", help='like "cpu/fp32,cpu/bf16"; default: all')
    parser.add_argument("--base", type=int, default=256, help="size of the picture for the other curves")
    parser.add_argument("--sizes", default="128,256,512")
    parser.add_argument("--batches", default="1,2,4,8")
    parser.add_argument("--targets", default="1,4,16")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--batch-s", type=float, default=1.2)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
