"""`eamfmeg eval clips`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import Bar, print_json
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.errors import MediaError, OptionError, PartialError

if TYPE_CHECKING:
    from eamfmeg_fast.evaluate.clip_report import PairResult
    from eamfmeg_fast.evaluate.pair_list import Pair
    from eamfmeg_fast.retargeter import Retargeter

Listed = Annotated[
    Path | None, typer.Argument(metavar="LIST", help="CSV or JSON with driving, target and maybe output.")
]
Drivings = Annotated[list[Path] | None, typer.Option("--driving", help="A driving clip; give it more than once.")]
Targets = Annotated[list[Path] | None, typer.Option("--target", help="A target picture; every clip on every one.")]
Outputs = Annotated[
    list[Path] | None, typer.Option("--compare", help="Score this clip instead of drawing one; one for each pair.")
]
Gain = Annotated[float | None, typer.Option(help="Strength of the motion; default: the preset's.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for scores.json, scores.md and figures, replaced there.")
]
SaveClips = Annotated[bool, typer.Option("--clips", help="Also write the drawn clips there, lossless.")]


def clips(
    listed: Listed = None,
    driving: Drivings = None,
    target: Targets = None,
    compare: Outputs = None,
    weights: Annotated[str, typer.Option(help="A name or a .safetensors file.")] = DEFAULT_WEIGHTS,
    crop: Annotated[str, typer.Option(help="Of clips and targets: none (centre square) or auto (the face).")] = "none",
    grey: Annotated[str, typer.Option(help="Take the colours off: none, driving or target.")] = "none",
    gain: Gain = None,
    start: Annotated[str | None, typer.Option(help="First driving frame, or seconds like 1.5s.")] = None,
    end: Annotated[str | None, typer.Option(help="The driving frame behind the last one, or seconds.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Processor threads; default: all.")] = None,
    out: Out = None,
    save_clips: SaveClips = False,
    as_json: Json = False,
) -> None:
    """Driving clips on targets, without a known truth: is the motion of the result that of the driving clip?"""
    from eamfmeg_fast.evaluate.clip_report import to_json, write_report
    from eamfmeg_fast.media.safe_file import media_errors
    from eamfmeg_fast.retargeter import Retargeter

    pairs = _pairs(listed, driving or [], target or [], compare or [])
    _check(crop, grey, pairs, out, save_clips)
    options: dict[str, Any] = {"start": start, "end": end, "gain": gain}
    changed = grey != "none" or save_clips or any(value is not None for value in options.values())
    if changed and any(pair.output is not None for pair in pairs):
        raise OptionError("start, end, gain, grey or --clips for a clip that is there already", "clips drawn here")
    if out is not None:
        with media_errors(out, "written"):
            out.mkdir(parents=True, exist_ok=True)
    retargeter = Retargeter.from_pretrained(weights, device=device, threads=threads)
    call = {"crop": crop, "grey": grey, **options}
    facts = {"weights": weights, **_facts(retargeter), **call}
    results: list[PairResult] = []
    if not as_json:
        typer.echo(_head(pairs))
    for result in _scored(retargeter, pairs, call | {"clips": out if save_clips else None}):
        results.append(result)
        if not as_json:
            typer.echo(_line(result, pairs))
        if out is not None:
            write_report(out, results, facts)
    if as_json:
        print_json(to_json(results, facts))
    _close(results, pairs, as_json)


def _facts(retargeter: Retargeter) -> dict[str, Any]:
    """What drew the clips; what else made each of them is among its own `settings`."""
    plan, config = retargeter.engine.plan, retargeter.config
    return {
        "weights_sha256": retargeter.weights_sha256,
        "preset": config.preset,
        "plan": f"{plan.backend}/{plan.decoder}",
        "still_px": config.still_px,
        "relative_occlusion": config.relative_occlusion,
    }


def _scored(retargeter: Retargeter, pairs: list[Pair], call: dict[str, Any]) -> Iterator[PairResult]:
    """One pair after another, under a progress bar."""
    from eamfmeg_fast.evaluate.clip_report import score_pairs

    with Bar("frames") as bar:
        for number, result in enumerate(score_pairs(retargeter, pairs, on_frame=bar.step, **call), 2):
            yield result
            bar.restart(None, f"pair {number} of {len(pairs)},")


def _pairs(listed: Path | None, drivings: list[Path], targets: list[Path], outputs: list[Path]) -> list[Pair]:
    from eamfmeg_fast.evaluate.pair_list import every_pair, read_pairs

    if listed is None:
        return every_pair(drivings, targets, outputs)
    if drivings or targets or outputs:
        raise OptionError("a list and single clips", "one of them", "Leave out --driving, --target and --compare.")
    return read_pairs(listed)


def _check(crop: str, grey: str, pairs: list[Pair], out: Path | None, save_clips: bool) -> None:
    """Refuse before any work what would be refused after it."""
    if crop not in ("none", "auto"):
        raise OptionError(f"crop {crop!r}", "none or auto", "Check the spelling.")
    if grey not in ("none", "driving", "target"):
        raise OptionError(f"grey {grey!r}", "none, driving or target", "Check the spelling.")
    if save_clips and out is None:
        raise OptionError("--clips without a folder", "a folder behind --out")
    names = [pair.name for pair in pairs]
    if out is None:
        return
    if len(set(names)) != len(names):
        raise OptionError("two pairs with the same file names", "different names", "Rename one of the files.")
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out} is in the way", "a folder or a new name")


def _width(pairs: list[Pair]) -> int:
    return max(4, *(len(_name(pair)) for pair in pairs))


def _name(pair: Pair) -> str:
    by = "" if pair.output is None else f" by {pair.output.name}"
    return f"{pair.driving.name} on {pair.target.name}{by}"


def _head(pairs: list[Pair]) -> str:
    from eamfmeg_fast.evaluate.clip_report import COLUMNS

    return " " * _width(pairs) + "  frames" + "".join(f"{name:>9}" for name in COLUMNS)


def _line(result: PairResult, pairs: list[Pair]) -> str:
    from eamfmeg_fast.evaluate.clip_report import figures_text

    name = _name(result.pair).ljust(_width(pairs))
    if result.score is None:
        return f"{name}  FAILED: {result.error}"
    return f"{name}{result.score.frames:>8}" + "".join(f"{text:>9}" for text in figures_text(result.score.figures()))


def _close(results: list[PairResult], pairs: list[Pair], as_json: bool) -> None:
    """The mean, and what failed."""
    from eamfmeg_fast.evaluate.clip_report import figures_text
    from eamfmeg_fast.evaluate.clips import mean_figures

    scores = [result.score for result in results if result.score is not None]
    if scores and not as_json:
        frames = sum(score.frames for score in scores)
        texts = "".join(f"{text:>9}" for text in figures_text(mean_figures(scores)))
        typer.echo("mean".ljust(_width(pairs)) + f"{frames:>8}{texts}")
    failed = [result for result in results if result.score is None]
    if failed:
        raise PartialError(f"{len(failed)} of {len(results)} pairs failed, the first: {failed[0].error}")
