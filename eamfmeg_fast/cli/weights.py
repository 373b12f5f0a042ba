"""`eamfmeg convert` and `eamfmeg inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json, Overwrite
from eamfmeg_fast.cli.output import print_json
from eamfmeg_fast.errors import OptionError

_DTYPES = ("float32", "float16", "bfloat16")


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A published checkpoint (.pth.tar) or foreign safetensors.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Annotated[str | None, typer.Option(help="What it must be; default: what its tensors say.")] = None,
    dtype: Annotated[str, typer.Option(help="Of matrices on disk: float32, float16 or bfloat16.")] = "float32",
    seconds: Annotated[float, typer.Option(min=1, help="Most that reading the checkpoint may take.")] = 300.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a weights file of a checkpoint. Nothing in the checkpoint is run."""
    import torch

    from eamfmeg_fast import weights

    if dtype not in _DTYPES:
        raise OptionError(f"dtype {dtype!r}", ", ".join(_DTYPES), "Check the spelling.")
    report = weights.convert(
        checkpoint, out, preset=preset, dtype=getattr(torch, dtype), overwrite=overwrite, seconds=seconds
    )
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo("\n".join(report.lines()))


def inspect(
    path: Annotated[Path, typer.Argument(help="A weights file (or shipped name), a motion file or a checkpoint.")],
    seconds: Annotated[float, typer.Option(min=1, help="Most that reading a checkpoint may take.")] = 300.0,
    as_json: Json = False,
) -> None:
    """Say what is in a weights file, motion file or checkpoint. Exits with 2 if it cannot be used."""
    from eamfmeg_fast import weights
    from eamfmeg_fast.motion_file import FORMAT, stated_format

    if str(path) in weights.pretrained_names() and not path.exists():
        path = weights.PRETRAINED / f"{path}.safetensors"
    if stated_format(path) == FORMAT:
        _show_motion(path, as_json)
        return
    report = weights.inspect(path, seconds=seconds)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo("\n".join(report.lines()))
    if report.problems:
        raise typer.Exit(2)


def _show_motion(path: Path, as_json: bool) -> None:
    from eamfmeg_fast.motion_file import MotionFile

    motion = MotionFile(path)
    facts = {"path": str(path), "kind": "motion", "frames": len(motion), **vars(motion.facts)}
    if as_json:
        print_json(facts)
    else:
        typer.echo("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))
