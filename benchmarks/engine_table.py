"""The tables and the picture of benchmarks/README.md, made from benchmarks/results/engine-*.json."""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path, PurePath
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE / "README.md"
FRONT_PAGE = HERE.parent / "README.md"
BEGIN, END = "<!-- made by benchmarks/engine.py -->", "<!-- end of engine -->"
_OURS, _ORACLE = "eamfmeg_fast ", "reference"
_HEADLINE = (
    "torch upstream loop",
    "torch eager NCHW",
    "torch bf16 autocast",
    "torch.compile bf16 autocast",
    "OpenVINO fp32",
    "OpenVINO bf16",
    "OpenVINO front fp32, decoder bf16",
    "OpenVINO front fp32, decoder int8",
)
_EQUAL_DB = 120.0
_DIFFERENT = 0.10
_WIDTH, _LABEL, _ROW = 860, 290, 26
_COLOURS = {True: "#b3402a", False: "#8a94a0"}

Result = dict[str, Any]


def table(result: Result) -> str:
    """All networks' tables in Markdown."""
    return "\n\n".join(_network(name, found, result["machine"]) for name, found in result["networks"].items())


def _network(name: str, found: Result, machine: Result) -> str:
    threads = f"{found['threads']} threads" if found["threads"] > 1 else "1 thread"
    lines = [
        f"**`{name}`** on {machine['processor']} (family {machine['family']}, model {machine['model']}), {threads}, "
        f"commit {found['commit']}, {found['date']}, {_clip(found)}:",
        "",
        "| variant | ms a frame, p50 (p20 - p80) | times the yardstick (lo - hi) | p95, p99 ms | first frame ms | "
        "start s | memory MB | PSNR dB | keypoints off, px |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_cells(variant, row))} |" for variant, row in found["rows"].items()]
    lines += ["", f"The yardstick is {found['yardstick']}."]
    versions = found.get("versions") or machine.get("versions", {})
    if versions:
        lines.append(f"Measured with {', '.join(f'{package} {version}' for package, version in versions.items())}.")
    if any(not row["quiet"] for row in found["rows"].values()):
        lines.append("A figure with * was never measured alone: other work ran in all batches.")
    lines += [f"{variant}: {why}." for variant, why in found["failed"].items()]
    return "\n".join(lines)


def _clip(found: Result) -> str:
    """Of what the frames are, and of how many of them p95 and p99 are."""
    counts = [row["latency"]["frames"] for row in found["rows"].values() if "latency" in row]
    # Results do not say where a clip lay: only its name is shown.
    name = PurePath(found["clip"].replace("\\", "/")).name
    if not counts:
        return f"clip `{name}`"
    several = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    return f"clip `{name}`, p95 and p99 of {several} frames"


def _cells(variant: str, row: Result) -> tuple[str, ...]:
    name = f"**{variant}**" if variant.startswith(_OURS) else variant
    noisy = "" if row["quiet"] else "*"
    late = row.get("latency")
    return (
        name,
        f"{row['p50_ms']:.1f}{noisy} ({row['p20_ms']:.1f} - {row['p80_ms']:.1f})",
        f"{row['ratio']:.2f} ({row['ratio_lo_hi'][0]:.2f} - {row['ratio_lo_hi'][1]:.2f})" if row["ratio"] else "-",
        f"{late['p95_ms']:.1f}, {late['p99_ms']:.1f}" if late else "-",
        f"{row['first_frame_ms']:.0f}",
        f"{row['start_s']:.1f}",
        f"{row['peak_mb']:.0f}" if "peak_mb" in row else "-",
        _psnr(row),
        f"{row['keypoint_shift_px']:.1g}",
    )


def _psnr(row: Result) -> str:
    rounded = "equal" if row["psnr_db"] >= _EQUAL_DB else f"{row['psnr_db']:.1f}"
    exact = row.get("float_psnr_db")
    return rounded if exact is None else f"{rounded} ({exact:.1f})"


def headline(result: Result) -> str:
    """The few rows that the front page shows."""
    lines = ["| network | variant | ms a frame | frames/s | PSNR dB | keypoints off, px |", "|---|---|---|---|---|---|"]
    for name, found in result["networks"].items():
        for variant, row in found["rows"].items():
            if (variant.startswith(_OURS) and _ORACLE not in variant) or variant in _HEADLINE:
                shown_name = f"**{variant}**" if variant.startswith(_OURS) else variant
                times = f"{row['p50_ms']:.1f} | {1e3 / row['p50_ms']:.1f}"
                lines.append(f"| `{name}` | {shown_name} | {times} | {_psnr(row)} | {row['keypoint_shift_px']:.1g} |")
    return "\n".join(lines)


def plot(result: Result) -> str:
    """Bars of the ratios in SVG, with accuracy beside every bar."""
    body, y = [], 10
    for name, found in result["networks"].items():
        rows = {variant: row for variant, row in found["rows"].items() if row["ratio"]}
        most = max((row["ratio_lo_hi"][1] for row in rows.values()), default=1.0)
        body.append(_text(8, y + 18, f"{name}: times {found['yardstick']}; PSNR, shift of keypoints", bold=True))
        y += _ROW + 4
        for variant, row in rows.items():
            body += _bar(y, variant, row, (_WIDTH - _LABEL - 190) / most)
            y += _ROW
        y += 14
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{y}" fill="white"/>', *body, "</svg>"]) + "\n"


def _bar(y: int, variant: str, row: Result, scale: float) -> list[str]:
    colour = _COLOURS[variant.startswith(_OURS)]
    width, (lo, hi) = row["ratio"] * scale, (edge * scale for edge in row["ratio_lo_hi"])
    middle = y + _ROW / 2
    words = f"{row['ratio']:.2f}   {_psnr(row).split(' ')[0]} dB, {row['keypoint_shift_px']:.1g} px"
    return [
        _text(_LABEL - 8, y + 17, variant, anchor="end"),
        f'<rect x="{_LABEL}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
        f'<path d="M{_LABEL + lo:.1f} {middle} H{_LABEL + hi:.1f}" stroke="black"/>',
        _text(_LABEL + hi + 8, y + 17, words),
    ]


def _text(x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def beside(result: Result, other: Result) -> str:
    """Ratios of two machines, network by network; what differs by more than a tenth is marked."""
    lines = []
    for name, found in result["networks"].items():
        theirs = other["networks"].get(name, {"rows": {}})["rows"]
        for variant, row in found["rows"].items():
            if row["ratio"] and theirs.get(variant, {}).get("ratio"):
                share = row["ratio"] / theirs[variant]["ratio"] - 1
                mark = "  <- differs" if abs(share) > _DIFFERENT else ""
                lines.append(
                    f"{name:10} {variant:36} {row['ratio']:6.2f} {theirs[variant]['ratio']:6.2f} {share:+7.0%}{mark}"
                )
    return "\n".join([f"{'network':10} {'variant':36} {'here':>6} {'there':>6}", *lines])


def write_readme(result: Result) -> None:
    """Put the tables between their marks and the picture beside them."""
    (RESULTS / "engine.svg").write_text(plot(result))
    README.write_text(between(README.read_text(), BEGIN, END, shown(result)))
    FRONT_PAGE.write_text(between(FRONT_PAGE.read_text(), BEGIN, END, headline(result)))


def between(text: str, begin: str, end: str, made: str) -> str:
    """`text` with `made` between the marks `begin` and `end`."""
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{made}\n{end}{after}"


def shown(result: Result) -> str:
    """What stands between the marks."""
    return f"![Ratios and accuracy](results/engine.svg)\n\n{table(result)}"


if __name__ == "__main__":
    write_readme(json.loads(Path(sys.argv[1]).read_text()))
