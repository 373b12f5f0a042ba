"""`eamfmeg train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.errors import OptionError


def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; a run that is there goes on where it stopped.")],
    preset: Annotated[str, typer.Option(help="Which network; its recipe says how.")] = DEFAULT_WEIGHTS,
    minutes: Annotated[float, typer.Option(help="Stop, resumably, after so long; 0 trains to the end.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Of weights, data and augmentation; default: the recipe's.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; under torchrun each process takes one.")] = "auto",
    accumulate: Annotated[
        int | None, typer.Option(help="Micro-batches a step, which processes share out; default: the recipe's.")
    ] = None,
    start_from: Annotated[str | None, typer.Option(help="Weights to begin with: a shipped name or a file.")] = None,
    vgg19: Annotated[Path | None, typer.Option(help="Safetensors with VGG19 features, for the reconstruction.")] = None,
    threads: Annotated[int | None, typer.Option(help="For the arithmetic.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that render faces beside it, on the CPU.")] = 1,
    shorten: Annotated[float, typer.Option(help="Factor on every stage's steps, for trying out.")] = 1.0,
    scales: Annotated[bool, typer.Option(help="Measure what precision int8 needs, at the end.")] = True,
    as_json: Json = False,
) -> None:
    """Train on lab faces and warped pictures of things; writes checkpoint, log and weights with their model card.

    Ctrl-C stops after the step that is under way; the same command goes on. With several GPUs:
    `torchrun --nproc-per-node N -m eamfmeg_fast train OUT --accumulate N`.
    """
    from eamfmeg_fast.config import preset as configuration
    from eamfmeg_fast.train import RECIPES, run

    if not shorten > 0:
        raise OptionError(f"shorten={shorten:g}", "a factor above 0")
    if threads is not None and not 1 <= threads <= 1024:
        raise OptionError(f"threads {threads}", "a number from 1 to 1024")
    configuration(preset)
    if preset not in RECIPES:
        raise OptionError(f"preset {preset!r}, which has no recipe", f"one of {', '.join(RECIPES)}")
    recipe = RECIPES[preset]
    options = replace(
        recipe,
        out=out,
        stages=tuple(replace(stage, steps=max(1, round(stage.steps * shorten))) for stage in recipe.stages),
        seed=recipe.seed if seed is None else seed,
        accumulate=recipe.accumulate if accumulate is None else accumulate,
        start_from=recipe.start_from if start_from is None else start_from,
        vgg19=vgg19,
        minutes=minutes,
        threads=threads,
        workers=workers,
        device=device,
        scales=scales,
    )
    with Bar("steps", options.steps) as bar:
        done = run(options, bar.reach)
    if done.weights is None:
        return
    facts = {"weights": str(done.weights.path), "steps": done.steps, "of": done.total, "sha256": done.weights.sha256}
    if as_json:
        print_json(facts)
    else:
        typer.echo(f"{facts['weights']}: {done.steps} of {done.total} steps")
