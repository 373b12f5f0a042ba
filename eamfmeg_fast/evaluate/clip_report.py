"""Scores of many pairs: run one after another, and written down as a table, JSON and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eamfmeg_fast.errors import EamfmegError
from eamfmeg_fast.evaluate.clips import ClipScore, mean_figures, score_output, score_pair
from eamfmeg_fast.evaluate.curves import curves_svg
from eamfmeg_fast.evaluate.pair_list import Pair
from eamfmeg_fast.media.safe_file import write_text_aside
from eamfmeg_fast.provenance import plain
from eamfmeg_fast.retargeter import Retargeter

COLUMNS = ("corr", "gain", "leak", "sharp", "start", "flicker", "trace")
_DIGITS = {"start": 1, "flicker": 1, "trace": 3}


@dataclass(frozen=True)
class PairResult:
    """How one pair went: its score, or the error in one line."""

    pair: Pair
    score: ClipScore | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        if self.score is not None:
            return self.score.to_dict() | {"error": None}
        return {"driving": self.pair.driving.name, "target": self.pair.target.name, "error": self.error}


def score_pairs(
    retargeter: Retargeter,
    pairs: Iterable[Pair],
    *,
    crop: str = "none",
    grey: str = "none",
    clips: Path | None = None,
    on_frame: Callable[..., None] | None = None,
    **options: Any,
) -> Iterator[PairResult]:
    """Score pairs one after another; one that cannot be scored is reported and the next goes on.

    Args:
        crop, grey, on_frame, options: as `score_pair`. clips: an existing folder for the drawn clips, lossless mp4.
    """
    for pair in pairs:
        try:
            if pair.output is not None:
                score = score_output(retargeter, pair.driving, pair.target, pair.output, crop=crop, on_frame=on_frame)
            else:
                save = None if clips is None else clips / f"{pair.name}.mp4"
                score = score_pair(
                    retargeter, pair.driving, pair.target, crop=crop, grey=grey, save=save, on_frame=on_frame, **options
                )  # fmt: skip
            yield PairResult(pair, score)
        except EamfmegError as error:
            yield PairResult(pair, error=str(error))


def to_json(results: list[PairResult], facts: dict[str, Any]) -> dict[str, Any]:
    """All results as plain values: the facts about the run, a row for each pair, and the mean of those scored."""
    scores = [result.score for result in results if result.score is not None]
    found: dict[str, Any] = plain(
        facts
        | {
            "pairs": [result.to_dict() for result in results],
            "failed": len(results) - len(scores),
            "mean": mean_figures(scores) if scores else None,
        }
    )
    return found


def to_markdown(results: list[PairResult]) -> str:
    """A table in Markdown: one line for each pair, the mean last."""
    head = ["driving", "target", "frames", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    scores = [result.score for result in results if result.score is not None]
    for result in results:
        if result.score is None:
            why = (result.error or "").replace("|", "/")
            lines.append(f"| {result.pair.driving.name} | {result.pair.target.name} | not scored: {why} |")
            continue
        score = result.score
        cells = [score.driving, score.target, str(score.frames), *figures_text(score.figures())]
        lines.append("| " + " | ".join(cells) + " |")
    if scores:
        cells = ["mean", "", str(sum(score.frames for score in scores)), *figures_text(mean_figures(scores))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figures_text(figures: dict[str, float]) -> list[str]:
    """The figures of `COLUMNS` with as many digits as mean something, "-" for what cannot be told."""
    known = {name: figures[name] for name in COLUMNS if not math.isnan(figures[name])}
    return [f"{known[name]:.{_DIGITS.get(name, 2)}f}" if name in known else "-" for name in COLUMNS]


def write_report(out: Path, results: list[PairResult], facts: dict[str, Any]) -> None:
    """Write `scores.json`, `scores.md` and the latest pair's figure of curves into an existing folder.

    Call it after every pair, so that a run that is interrupted leaves what was scored.

    Raises:
        MediaError: that is not possible.
    """
    for result in results[-1:]:
        if result.score is not None and result.score.curves is not None:
            title = f"{result.score.driving} on {result.score.target}"
            write_text_aside(out / f"{result.pair.name}.svg", curves_svg(result.score.curves, title))
    write_text_aside(out / "scores.json", json.dumps(to_json(results, facts), indent=2) + "\n")
    write_text_aside(out / "scores.md", to_markdown(results))
