"""`eamfmeg train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.errors import OptionError


def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; a run that is there goes on where it stopped.")],
    preset: Annotated[str, typer.Option(help="Which network.")] = "small",
    minutes: Annotated[float, typer.Option(help="Stop, resumably, after so long; 0 trains to the end.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of weights, data and augmentation.")] = 1,
    vgg19: Annotated[Path | None, typer.Option(help="Safetensors with VGG19 features, for the reconstruction.")] = None,
    threads: Annotated[int | None, typer.Option(help="For the arithmetic.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that render faces beside it.")] = 1,
    shorten: Annotated[float, typer.Option(help="Factor on every stage's steps, for trying out.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Train on lab faces and warped pictures of things; writes checkpoint, log and weights with their model card."""
    from eamfmeg_fast.config import preset as configuration
    from eamfmeg_fast.train import SMALL_RECIPE, TrainOptions, run

    if shorten <= 0 or minutes < 0 or workers < 0:
        raise OptionError(
            f"shorten={shorten:g}, minutes={minutes:g}, workers={workers}", "shorten > 0, the others >= 0"
        )
    if threads is not None and not 1 <= threads <= 1024:
        raise OptionError(f"threads {threads}", "a number from 1 to 1024")
    configuration(preset)
    stages = tuple(replace(stage, steps=max(1, round(stage.steps * shorten))) for stage in SMALL_RECIPE)
    options = TrainOptions(preset, out, stages, seed, vgg19=vgg19, minutes=minutes, threads=threads, workers=workers)
    with Bar("steps", sum(stage.steps for stage in stages)) as bar:
        done = run(options, bar.reach)
    facts = {"weights": str(done.weights.path), "steps": done.steps, "of": done.total, "sha256": done.weights.sha256}
    if as_json:
        print_json(facts)
    else:
        typer.echo(f"{facts['weights']}: {done.steps} of {done.total} steps")
