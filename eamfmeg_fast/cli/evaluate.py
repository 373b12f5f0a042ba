"""`eamfmeg eval`."""

from __future__ import annotations

from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json

app = typer.Typer(help="Measure how faithfully movements are repeated.", no_args_is_help=True)


@app.command("lab")
def lab(
    weights: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = "small",
    clips: Annotated[int, typer.Option(help="How many held-out people.")] = 8,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    noise: Annotated[bool, typer.Option(help="With the camera's noise on target, driver and truth.")] = True,
    as_json: Json = False,
) -> None:
    """Held-out lab faces, each driven by its own clip, against the truth."""
    from eamfmeg_fast.evaluate import score_lab, summary
    from eamfmeg_fast.retargeter import Retargeter

    retargeter = Retargeter.from_pretrained(weights)
    scores = []
    with Bar("clips", clips) as bar:
        for score in score_lab(retargeter, clips, seed=seed, noisy=noise):
            scores.append(score)
            bar.step()
    mean = summary(scores)
    if as_json:
        print_json({"clips": [score.to_dict() for score in scores], "mean": mean})
        return
    names = list(mean)
    typer.echo("identity    " + "  ".join(f"{name:>18}" for name in names))
    for score in scores:
        typer.echo(f"{score.identity:<12}" + "  ".join(f"{score.to_dict()[name]:>18.2f}" for name in names))
    typer.echo(f"{'mean':<12}" + "  ".join(f"{mean[name]:>18.2f}" for name in names))


@app.callback()
def top() -> None:
    """Measure how faithfully movements are repeated."""
