"""`eamfmeg retarget`: one pair, a table of pairs, or folders with folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eamfmeg_fast.cli.options import Json, Overwrite
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.errors import OptionError, PartialError

if TYPE_CHECKING:
    from eamfmeg_fast.retargeter import Retargeter
    from eamfmeg_fast.retargeter.batch import Job
    from eamfmeg_fast.retargeter.report import Report

_FORMATS = {"mp4": ".mp4", "gif": ".gif", "png": ""}

TargetPath = Annotated[Path | None, typer.Argument(metavar="TARGET", help="A picture of a face, or a folder of them.")]
DrivingPath = Annotated[
    Path | None, typer.Argument(metavar="DRIVING", help="A clip (video, gif, frames, motion file) or a folder of them.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help=".mp4, .gif or a folder for PNGs; with many pairs: a folder.")]
Pairs = Annotated[Path | None, typer.Option(help="CSV with the columns target, driving and maybe output.")]
Weights = Annotated[str, typer.Option(help="Shipped weights by name, or a .safetensors file.")]
Motion = Annotated[str, typer.Option(help="relative or absolute.")]
Gain = Annotated[float | None, typer.Option(help="Strength of relative motion; default: the preset's.")]
CropTarget = Annotated[str, typer.Option("--crop", help="Around the face (auto), centre square (none), or x,y,w,h.")]
CropDriving = Annotated[str | None, typer.Option(help="The same for the driving clip; default: as --crop, or auto.")]
OnLost = Annotated[str, typer.Option(help="When the driving face is gone: hold, skip or stop.")]
Start = Annotated[str | None, typer.Option(help="First frame wanted: a number, or seconds like 1.5s.")]
End = Annotated[str | None, typer.Option(help="The frame behind the last one: a number, or seconds.")]
ReferenceFrame = Annotated[
    str | None, typer.Option(help="Neutral driving frame: a number or auto; default: the still beginning.")
]
Smoothing = Annotated[str, typer.Option(help="Of noise, over time: none, causal or centred; costs small movements.")]
StillPx = Annotated[float | None, typer.Option(help="Less motion is none, in px at 256; default: the preset's.")]
Format = Annotated[str, typer.Option("--format", help="Of many outputs: mp4, gif or png (folders of frames).")]
Lossless = Annotated[bool, typer.Option("--lossless", help="Bit-exact mp4.")]
Crf = Annotated[int, typer.Option(min=0, max=51, help="Quality of mp4; smaller is better.")]
SaveMotion = Annotated[Path | None, typer.Option(help="Also write the motion to a .safetensors file.")]
SideBySide = Annotated[bool, typer.Option("--side-by-side", help="Target, driving frame and result in one picture.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, or a precision that the device has.")]
Update = Annotated[str, typer.Option(help="exact: repeated frames cost nothing; sparse: only what moved; dense.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads; default: all.")]


def retarget(
    target: TargetPath = None,
    driving: DrivingPath = None,
    *,
    out: Out,
    pairs: Pairs = None,
    weights: Weights = DEFAULT_WEIGHTS,
    motion: Motion = "relative",
    gain: Gain = None,
    crop: CropTarget = "auto",
    crop_driving: CropDriving = None,
    on_lost: OnLost = "hold",
    start: Start = None,
    end: End = None,
    reference_frame: ReferenceFrame = None,
    smoothing: Smoothing = "none",
    still_px: StillPx = None,
    output_format: Format = "mp4",
    lossless: Lossless = False,
    crf: Crf = 12,
    save_motion: SaveMotion = None,
    side_by_side: SideBySide = False,
    device: Device = "auto",
    precision: Precision = "auto",
    update: Update = "exact",
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Repeat the micro-expression of DRIVING on TARGET."""
    call: dict[str, Any] = {
        "crop": crop,
        "crop_driving": crop_driving or ("auto" if crop not in ("auto", "none") else crop),
    }
    call |= {"start": start, "end": end, "on_lost": on_lost, "reference_frame": parse_reference(reference_frame)}
    save: dict[str, Any] = {"lossless": lossless, "crf": crf, "overwrite": overwrite, "side_by_side": side_by_side}
    engine: dict[str, Any] = {"device": device, "precision": precision, "update": update, "threads": threads}
    engine |= {"motion": motion, "gain": gain, "still_px": still_px}
    call["smoothing"] = smoothing
    jobs = _jobs(target, driving, out, pairs, output_format, save_motion)
    retargeter = _load(weights, engine)
    if jobs is None:
        _one(retargeter, (target, driving, out), call, save | {"save_motion": save_motion}, as_json)
    else:
        _many(retargeter, jobs, out, call, save, as_json)


def parse_reference(text: str | None) -> int | str | None:
    """A frame number, "auto" or None.

    Raises:
        OptionError: something else.
    """
    if text is None or text == "auto":
        return text
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    raise OptionError(f"reference frame {text[:40]!r}", "a frame number or auto")


def _load(weights: str, options: dict[str, Any]) -> Retargeter:
    from eamfmeg_fast.retargeter import Retargeter

    return Retargeter.from_pretrained(weights, **options)


def _jobs(
    target: Path | None, driving: Path | None, out: Path, pairs: Path | None, form: str, save_motion: Path | None
) -> list[Job] | None:
    """The jobs of a table or of folders; None when it is one pair.

    Raises:
        OptionError: arguments that do not go together.
    """
    from eamfmeg_fast.retargeter.batch import holds_pictures, jobs_from_folders, jobs_from_pairs

    if form not in _FORMATS:
        raise OptionError(f"format {form!r}", ", ".join(_FORMATS), "Check the spelling.")
    if pairs is None and (target is None or driving is None):
        raise OptionError("no target or no driving clip", "TARGET and DRIVING, or --pairs")
    if pairs is None and target is not None and driving is not None:
        clip = not driving.is_dir() or holds_pictures(driving)
        if clip and not target.is_dir():
            return None
    if pairs is not None:
        jobs = jobs_from_pairs(pairs, out, _FORMATS[form], targets=target, drivings=driving)
    else:
        jobs = jobs_from_folders(Path(target or ""), Path(driving or ""), out, _FORMATS[form])
    if save_motion is not None or out.suffix.lower() in (".mp4", ".gif"):
        raise OptionError("many pairs, but one file to write", "a folder behind --out and no --save-motion")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"folder {out.parent} does not exist", "a place to write to", "Create it first.")
    return jobs


def _one(
    retargeter: Retargeter, paths: tuple[Any, Any, Path], call: dict[str, Any], save: dict[str, Any], as_json: bool
) -> None:
    target, driving, out = paths
    clip = retargeter(target, driving, **call)
    with Bar("frames", clip.driving.count) as bar:
        report = clip.save(out, on_frame=bar.step, **save)
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(_summary(report))
    if report.stopped_at is not None:
        raise PartialError(f"the face was lost in frame {report.stopped_at}, {report.frames} frames are written")


def _summary(report: Report) -> str:
    pace = f"{sum(report.mean_ms.values()):.0f} ms each"
    lost = f", face lost in {report.lost}" if report.lost else ""
    return f"{report.output}: {report.frames} frames, {pace}{lost}"


def _many(
    retargeter: Retargeter, jobs: list[Job], out: Path, call: dict[str, Any], save: dict[str, Any], as_json: bool
) -> None:
    from eamfmeg_fast.retargeter.batch import run_jobs

    results = []
    made = not out.exists()
    with Bar("frames") as bar:
        bar.restart(None, f"pair 1 of {len(jobs)},")
        for result in run_jobs(retargeter, jobs, call=call, save=save, on_frame=bar.step):
            results.append(result)
            bar.restart(None, f"pair {len(results) + 1} of {len(jobs)},")
            if result.report is not None and not as_json:
                typer.echo(_summary(result.report))
            elif not as_json:
                typer.echo(f"{result.job.output}: FAILED: {result.error}")
    failed = [result for result in results if result.error is not None]
    if as_json:
        print_json({"pairs": len(results), "failed": len(failed), "results": [row.to_dict() for row in results]})
    if failed:
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise PartialError(f"{len(failed)} of {len(results)} pairs failed, the first: {failed[0].error}")
    stopped = [result for result in results if result.report is not None and result.report.stopped_at is not None]
    if stopped:
        raise PartialError(f"{len(stopped)} of {len(results)} clips end early, because the face was lost")
