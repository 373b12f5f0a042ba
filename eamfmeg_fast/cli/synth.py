"""`eamfmeg synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eamfmeg_fast.cli.options import Json, Overwrite
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.errors import OptionError


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the set, new or empty.")],
    clips: Annotated[int, typer.Option(help="How many clips.")] = 8,
    subjects: Annotated[int, typer.Option(help="How many people among them.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
    split: Annotated[str, typer.Option(help="People that training may see (train) or never (held_out).")] = "held_out",
    emotion: Annotated[str, typer.Option(help="An emotion, or all, one after another.")] = "all",
    action_units: Annotated[str | None, typer.Option(help='Instead of an emotion: "12:0.8,6".')] = None,
    size: Annotated[int, typer.Option(help="Pixels on a side.")] = 256,
    fps: Annotated[str, typer.Option(help='Frames per second, 25 to 1000, also "30000/1001".')] = "200",
    layout: Annotated[str, typer.Option(help="frames (PNGs), mp4 (lossless) or gif.")] = "frames",
    truth: Annotated[str, typer.Option(help="none, motion (landmarks, intensities) or full (also flow).")] = "motion",
    photo: Annotated[
        Path | None, typer.Option(help="Move the face in this picture, with the person's consent.")
    ] = None,
    landmarks: Annotated[Path | None, typer.Option(help="JSON, name to [x, y] in the photo; default: found.")] = None,
    crop: Annotated[
        str, typer.Option(help="Of the photo: around the face (auto), centre square (none), x,y,w,h.")
    ] = "auto",
    weights: Annotated[str, typer.Option(help="The network that finds the photo's landmarks.")] = "small",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a labelled set of lab clips: faces that never lived, or the face in a photo; motion known exactly."""
    from eamfmeg_fast.synth import SynthOptions, synthesise

    units = None if action_units is None else parse_action_units(action_units)
    options = SynthOptions(clips, subjects, seed, split, emotion, units, size, fps, layout, truth, overwrite,
                           photo, landmarks, crop, weights)  # fmt: skip
    rows = []
    with Bar("clips", clips) as bar:
        for made in synthesise(out, options):
            rows.append(made.row)
            bar.step()
    if as_json:
        print_json({"out": str(out), "clips": rows})
    else:
        typer.echo(f"{out}: {len(rows)} clips, annotations.csv, annotations_full.csv")


def parse_action_units(text: str) -> dict[int, float]:
    """FACS numbers and intensities from "12:0.8,6"; without a number behind the colon 1.

    Raises:
        OptionError: something else.
    """
    units: dict[int, float] = {}
    for part in text.split(","):
        number, _, amount = part.strip().partition(":")
        try:
            units[int(number)] = float(amount) if amount else 1.0
        except ValueError as error:
            raise OptionError(f"action unit {part[:40]!r}", 'numbers like "12:0.8,6"') from error
    return units
