"""`eamfmeg calibrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json


def calibrate(
    weights: Annotated[str, typer.Argument(help="A weights file (or shipped name), which is replaced in one step.")],
    people: Annotated[int, typer.Option(help="How many faces of the lab are drawn, at most 64.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a network's activations and store their scales in its weights file, as precision int8 needs them."""
    from eamfmeg_fast import evaluate

    with Bar("people", people) as bar:
        info = evaluate.calibrate(weights, people, seed=seed, progress=bar.reach)
    scales = info.activation_scales or {}
    if as_json:
        print_json({"path": str(info.path), "sha256": info.sha256, "activation_scales": scales})
        return
    for name, step in scales.items():
        typer.echo(f"{name:<40}{step:.6g}")
    typer.echo(f"{info.path}: ready for precision int8")
