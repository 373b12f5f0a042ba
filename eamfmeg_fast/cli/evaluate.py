"""`eamfmeg eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.config import DEFAULT_WEIGHTS

app = typer.Typer(help="Measure how faithfully movements are repeated.", no_args_is_help=True)


@app.command("lab")
def lab(
    weights: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = DEFAULT_WEIGHTS,
    clips: Annotated[int, typer.Option(help="How many held-out people.")] = 8,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    noise: Annotated[bool, typer.Option(help="With the camera's noise on target, driver and truth.")] = True,
    out: Annotated[Path | None, typer.Option(help="Add a row to this file of JSON lines.")] = None,
    as_json: Json = False,
) -> None:
    """Held-out lab faces, each driven by its own clip and by another person's, against the truth."""
    from eamfmeg_fast.evaluate import append_row, check_place, circumstances, lines, score_lab, summary
    from eamfmeg_fast.retargeter import Retargeter

    if out is not None:
        check_place(out)
    retargeter = Retargeter.from_pretrained(weights)
    when_and_where, scores = circumstances(), []
    with Bar("people", clips) as bar:
        for score in score_lab(retargeter, clips, seed=seed, noisy=noise):
            scores.append(score)
            bar.step()
    mean = summary(scores)
    plan = retargeter.engine.plan
    facts: dict[str, Any] = {
        "preset": retargeter.config.preset,
        "content_sha256": retargeter.content_sha256,
        "weights_sha256": retargeter.weights_sha256,
        "plan": f"{plan.backend}/{plan.decoder}",
    }
    if out is not None:
        append_row(out, when_and_where | facts | {"clips": clips, "seed": seed, "noise": noise, "mean": mean})
    if as_json:
        print_json(facts | {"clips": [score.to_dict() for score in scores], "mean": mean})
        return
    for line in lines(scores):
        typer.echo(line)


@app.callback()
def top() -> None:
    """Measure how faithfully movements are repeated."""
