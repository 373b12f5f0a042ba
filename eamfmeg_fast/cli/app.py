"""The commands and what they share at the top: version and help."""

from __future__ import annotations

from typing import Annotated

import typer

from eamfmeg_fast import __version__
from eamfmeg_fast.cli import bench, calibrate, doctor, evaluate, evaluate_clips, retarget, synth, train, weights

app = typer.Typer(
    name="eamfmeg",
    help="Repeat the micro-expression of a driving clip on a target face.",
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 bad input, 3 a missing backend, 4 some of several jobs failed. "
    "--debug shows the traceback of an error.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eamfmeg_fast {__version__}")
        raise typer.Exit


@app.callback()
def top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Repeat the micro-expression of a driving clip on a target face."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("retarget")(retarget.retarget)
app.command("convert")(weights.convert)
app.command("inspect")(weights.inspect)
app.command("calibrate")(calibrate.calibrate)
app.command("synth")(synth.synth)
app.command("train")(train.train)
evaluate.app.command("clips")(evaluate_clips.clips)
app.add_typer(evaluate.app, name="eval")
app.command("bench")(bench.bench)
app.command("verify")(doctor.verify)
app.command("doctor")(doctor.doctor)
