"""`eamfmeg bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.errors import BackendError, EamfmegError, PartialError

if TYPE_CHECKING:
    from eamfmeg_fast.evaluate.speed import PlanSpeed

_COLUMNS = ("plan", "first ms", "p50", "p95", "p99", "fps", "MB", "PSNR dB", "kp px off")


def bench(
    weights: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = DEFAULT_WEIGHTS,
    plans: Annotated[
        str, typer.Option(help='Like "cpu/fp32,cpu/bf16"; default: all that run here with these weights.')
    ] = "",
    frames: Annotated[int, typer.Option(help="How many are timed.")] = 60,
    threads: Annotated[int | None, typer.Option(help="Processor threads; default: all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Measure what the engine does on this machine: latency, memory, and the accuracy that it costs."""
    from eamfmeg_fast.evaluate import speed

    chosen = [plan.strip() for plan in plans.split(",") if plan.strip()] or speed.plans_for(weights, device)
    rows: list[PlanSpeed] = []
    failed: list[EamfmegError] = []
    with Bar("plans", len(chosen)) as bar:
        for found in speed.measure_plans(weights, chosen, frames=frames, threads=threads, device=device):
            if isinstance(found, speed.PlanSpeed):
                rows.append(found)
            else:
                failed.append(found)
            bar.step()
    if as_json:
        print_json({"weights": weights, "plans": [r.to_dict() for r in rows], "failed": [str(e) for e in failed]})
    elif rows:
        _show(rows)
    if not rows:
        raise failed[0] if failed else BackendError("no plan runs on this machine")
    if failed:
        raise PartialError(f"{len(failed)} of {len(chosen)} plans failed, the first: {failed[0]}")


def _show(rows: list[PlanSpeed]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(*(Column(name, no_wrap=True) for name in _COLUMNS))
    for row in rows:
        table.add_row(*_cells(row))
    console = Console()
    console.print(table)
    console.print(f"Milliseconds of {rows[0].frames} lab frames; pictures (8 bits) and keypoints against float64.")


def _cells(row: PlanSpeed) -> tuple[str, ...]:
    from eamfmeg_fast.evaluate.scene import EQUAL_DB

    times = (f"{ms:.1f}" for ms in (row.first_frame_ms, row.p50_ms, row.p95_ms, row.p99_ms))
    psnr = "equal" if row.accuracy.psnr_db >= EQUAL_DB else f"{row.accuracy.psnr_db:.1f}"
    return (row.plan, *times, f"{row.fps:.1f}", f"{row.peak_mb:.0f}", psnr, f"{row.accuracy.keypoint_shift_px:.1e}")
