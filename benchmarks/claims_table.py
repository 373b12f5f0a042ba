"""What benchmarks/results/claims*.json say: intervals over seeds, verdicts, a table, a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from engine_table import between

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README, FRONT_PAGE = HERE / "README.md", HERE.parent / "README.md"
LOSSES = {"lab": "", "published": "-published"}
"""The sets of losses that are trained with, and what their files and marks have behind their names."""
NAMES = {
    "plain": "FOMM preset",
    "aep": "+ AEP",
    "released": "+ EIMHSA, released",
    "edge-query": "+ EIMHSA, edge-query",
}
FIGURES = {
    "reconstruction": "reconstruction loss",
    "equivariance_value": "equivariance loss, value",
    "equivariance_jacobian": "equivariance loss, Jacobian",
    "error_share": "end-point error by true motion",
    "still_error_px": "end-point error where it is still, px",
    "intensity_corr": "intensity, correlation",
    "apex_error_frames": "apex off, frames at 200 fps",
    "cross_likeness": "other person, likeness of motion",
    "identity_ssim": "other person, own texture (SSIM)",
    "jitter_px": "jitter on a still clip, px",
    "edge_f": "edges, F-score",
    "psnr_moving": "PSNR where it moves, dB",
}
_DRAWN = ("reconstruction", "equivariance_value", "equivariance_jacobian", "error_share")
# Of Student's t with so many degrees of freedom, two-sided, 95 %.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_COLOURS = {"plain": "#8a94a0", "aep": "#2a6fb3", "released": "#c98a1b", "edge-query": "#b3402a"}
_WIDE, _HIGH, _TOP, _PAD = 215, 190, 40, 16

Result = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A published statement: `better` has a lower `figure` than `than`."""

    words: str
    figure: str
    better: str
    than: str


CLAIMS = (
    Claim("AEP lowers the reconstruction loss", "reconstruction", "aep", "plain"),
    Claim("EIMHSA (released) improves the equivariance loss, value", "equivariance_value", "released", "aep"),
    Claim("EIMHSA (released) improves the equivariance loss, Jacobian", "equivariance_jacobian", "released", "aep"),
    Claim("EIMHSA (edge-query) improves the equivariance loss, value", "equivariance_value", "edge-query", "aep"),
    Claim("EIMHSA (edge-query) improves the equivariance loss, Jacobian", "equivariance_jacobian", "edge-query", "aep"),
)


@dataclass(frozen=True)
class Interval:
    """Mean and 95 % interval over seeds (Student's t); with one value the interval is everything."""

    mean: float
    low: float
    high: float


def results(losses: str) -> Path:
    """Where the rows of a set of losses are kept."""
    return RESULTS / f"claims{LOSSES[losses]}.json"


def figure(losses: str) -> Path:
    """Where they are drawn."""
    return results(losses).with_suffix(".svg")


def marks(losses: str) -> tuple[str, str]:
    """What stands around their text in a README."""
    return f"<!-- made by benchmarks/claims.py{LOSSES[losses]} -->", f"<!-- end of claims{LOSSES[losses]} -->"


def interval(values: Sequence[float]) -> Interval:
    """Of some values, at most ten.

    Raises:
        ValueError: no values, or more than ten.
    """
    count = len(values)
    if not 1 <= count <= len(_T) + 1:
        raise ValueError(f"{count} seeds; 1 to {len(_T) + 1} are known")
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    half = _T[count - 2] * math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1) / count)
    return Interval(mean, mean - half, mean + half)


def by_seed(result: Result, variant: str, figure: str) -> dict[int, float]:
    """A figure of every finished run of a variant; what was not measured is left out."""
    rows = (row for row in result["rows"] if row["variant"] == variant)
    found = {row["seed"]: row["figures"].get(figure) for row in rows}
    return {seed: value for seed, value in found.items() if value is not None}


def verdict(result: Result, claim: Claim) -> tuple[str, Interval | None]:
    """ "reproduced", "refuted", "undecided" or "not run", and the difference in percent, paired by seed.

    Reproduced: the whole interval is below zero. Refuted: it is above, the opposite is true.
    """
    better, than = (by_seed(result, variant, claim.figure) for variant in (claim.better, claim.than))
    seeds = sorted(better.keys() & than.keys())
    if not seeds:
        return "not run", None
    found = interval([100 * (better[seed] / than[seed] - 1) for seed in seeds])
    return "reproduced" if found.high < 0 else "refuted" if found.low > 0 else "undecided", found


def verdicts(result: Result) -> str:
    """One line for each claim."""
    lines = []
    for claim in CLAIMS:
        word, found = verdict(result, claim)
        why = "" if found is None else f": {found.mean:+.1f} % ({_range(found)})"
        lines.append(f'- "{claim.words}": **{word}**{why}.')
    return "\n".join(lines)


def _range(found: Interval) -> str:
    return f"{found.low:+.1f} to {found.high:+.1f}" if math.isfinite(found.low) else "one seed"


def table(result: Result) -> str:
    """Every figure of every variant: mean and half of the 95 % interval."""
    lines = [f"| held-out people | {' | '.join(NAMES.values())} |", "|---|" + "---|" * len(NAMES)]
    for figure, words in FIGURES.items():
        lines.append(f"| {words} | {' | '.join(_cell(by_seed(result, variant, figure)) for variant in NAMES)} |")
    return "\n".join(lines)


def _cell(values: dict[int, float]) -> str:
    if not values:
        return "-"
    found = interval(list(values.values()))
    digits = max(0, 2 - math.floor(math.log10(abs(found.mean) or 1)))
    spread = "" if math.isinf(found.high) else f" ± {found.high - found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f}{spread}"


def text(result: Result) -> str:
    """What stands between the marks of benchmarks/README.md."""
    settings, wanted = result["settings"], result["wanted"] * len(NAMES)
    seeds, done = len({row["seed"] for row in result["rows"]}), len(result["rows"])
    given = {"lab": "the lab's truth among the losses", "published": "the published losses alone"}[settings["losses"]]
    head = (
        f"Geometry of `small` at 128 px, {settings['steps']} steps of {settings['batch']} pairs, {seeds} seeds, "
        f"{given}, all parts trained from nothing and alike; commit "
        f"{', '.join(sorted({row['commit'] for row in result['rows']}))}. "
        f"{f'{done} of {wanted} runs are in. ' if done < wanted else ''}"
        "Means and 95 % intervals over seeds (Student's t); differences are paired by seed, in percent. These are "
        "short runs of a small network on made-up faces: they test the statements there and nowhere else."
    )
    return (
        f"![The claims](results/{figure(settings['losses']).name})\n\n{head}\n\n{verdicts(result)}\n\n{table(result)}"
    )


def headline(result: Result) -> str:
    """What stands between the marks of the front page, where it has them."""
    return f"![The claims](benchmarks/results/{figure(result['settings']['losses']).name})\n\n{verdicts(result)}"


def plot(result: Result) -> str:
    """Mean, interval and every seed of the losses, in SVG."""
    width, height = len(_DRAWN) * _WIDE, _TOP + _HIGH + 30 + 18 * len(NAMES)
    body = [part for k, figure in enumerate(_DRAWN) for part in _panel(result, figure, k * _WIDE)]
    for k, (variant, words) in enumerate(NAMES.items()):
        y = _TOP + _HIGH + 30 + 18 * k
        body += [f'<circle cx="20" cy="{y - 4}" r="5" fill="{_COLOURS[variant]}"/>', _text(32, y, words)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *body, "</svg>"]) + "\n"


def _panel(result: Result, figure: str, left: int) -> list[str]:
    found = {variant: by_seed(result, variant, figure) for variant in NAMES}
    spans = {variant: interval(list(values.values())) for variant, values in found.items() if values}
    edges = [v for values in found.values() for v in values.values()]
    edges += [v for span in spans.values() for v in (span.low, span.high) if math.isfinite(v)]
    out = [_text(left + _PAD, 22, FIGURES[figure])]
    if not edges:
        return out
    low, high = min(edges), max(edges)
    scale = _HIGH / max(high - low, 1e-12)
    for value in (low, high):
        y = _TOP + (high - value) * scale
        out.append(f'<path d="M{left + _PAD} {y:.1f} H{left + _WIDE - 8}" stroke="#ddd"/>')
        out.append(_text(left + _PAD, y + (14 if value == high else -4), f"{value:.3g}", small=True))
    step = (_WIDE - 70) / len(NAMES)
    for k, variant in enumerate(NAMES):
        x, colour = left + 64 + k * step, _COLOURS[variant]
        for value in found[variant].values():
            y = _TOP + (high - value) * scale
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" opacity="0.4"/>')
        if variant in spans:
            span = spans[variant]
            if math.isfinite(span.low):
                ends = [_TOP + (high - v) * scale for v in (span.low, span.high)]
                out.append(f'<path d="M{x:.1f} {ends[0]:.1f} V{ends[1]:.1f}" stroke="{colour}" stroke-width="2"/>')
            out.append(f'<circle cx="{x:.1f}" cy="{_TOP + (high - span.mean) * scale:.1f}" r="5" fill="{colour}"/>')
    return out


def _text(x: float, y: float, words: str, small: bool = False) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{11 if small else 13}">{escape(words)}</text>'


def write(result: Result) -> None:
    """The figure, and the text in every README that has the marks."""
    losses = result["settings"]["losses"]
    begin, end = marks(losses)
    figure(losses).write_text(plot(result))
    for path, made in ((README, text(result)), (FRONT_PAGE, headline(result))):
        page = path.read_text()
        if begin in page:
            path.write_text(between(page, begin, end, made))


if __name__ == "__main__":
    for kept in filter(Path.exists, map(results, LOSSES)):
        write(json.loads(kept.read_text()))
