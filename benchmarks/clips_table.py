"""The table of real clips in benchmarks/README.md: `python benchmarks/clips_table.py scores.json [more]`.

Each file is what `eamfmeg eval clips --out` wrote. What is kept of them in results/clips.json are figures alone; the
clips themselves stay where they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine_table import README, between

from eamfmeg_fast.evaluate.clip_report import COLUMNS, figures_text

RESULT = Path(__file__).parent / "results" / "clips.json"
BEGIN, END = "<!-- made by benchmarks/clips_table.py -->", "<!-- end of clips -->"

Run = dict[str, Any]


def kept(run: Run) -> Run:
    """The part of a scores.json that is published."""
    pairs = [
        {name: pair[name] for name in ("driving", "target", "frames", *COLUMNS)}
        for pair in run["pairs"]
        if pair["error"] is None
    ]
    facts = {name: run[name] for name in ("weights", "weights_sha256", "plan", "crop", "grey")}
    return facts | {"failed": run["failed"], "pairs": pairs, "mean": run["mean"]}


def table(runs: list[Run]) -> str:
    """Every pair of every run, and the runs' means."""
    lines = [
        "| weights | driving | target | frames | " + " | ".join(COLUMNS) + " |",
        "|---|---|---|---:|" + "---:|" * len(COLUMNS),
    ]
    for run in runs:
        name = f"`{Path(run['weights']).stem}`" + {"none": ""}.get(run["grey"], f", {run['grey']} in grey")
        for pair in run["pairs"]:
            cells = [name, pair["driving"], pair["target"], str(pair["frames"]), *figures_text(_numbers(pair))]
            lines.append("| " + " | ".join(cells) + " |")
        cells = [name, "**mean**", "", "", *figures_text(_numbers(run["mean"]))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: float("nan") if row.get(name) is None else float(row[name]) for name in COLUMNS}


def main() -> None:
    """Keep the figures, and write the table."""
    if paths := sys.argv[1:]:
        RESULT.write_text(json.dumps([kept(json.loads(Path(path).read_text())) for path in paths], indent=1) + "\n")
    README.write_text(between(README.read_text(), BEGIN, END, table(json.loads(RESULT.read_text()))))


if __name__ == "__main__":
    main()
