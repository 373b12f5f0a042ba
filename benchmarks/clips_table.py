"""The tables of real clips in the READMEs: `python benchmarks/clips_table.py base=scores.json "FOMM=other.json"`.

Each file is what `eamfmeg eval clips --out` wrote, of clips drawn here or, with `--compare`, elsewhere. What is
kept of them in results/clips.json are figures alone; the clips themselves stay where they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine_table import FRONT_PAGE, README, between

from eamfmeg_fast.evaluate.clip_report import COLUMNS, figures_text

RESULT = Path(__file__).parent / "results" / "clips.json"
BEGIN, END = "<!-- made by benchmarks/clips_table.py -->", "<!-- end of clips -->"
_FRONT = ("corr", "gain", "leak", "sharp", "start")

Run = dict[str, Any]


def kept(name: str, run: Run) -> Run:
    """The part of a scores.json that is published, under the name of what drew the clips."""
    pairs = [
        {key: pair[key] for key in ("driving", "target", "frames", *COLUMNS)}
        for pair in run["pairs"]
        if pair["error"] is None
    ]
    facts = {key: run[key] for key in ("weights", "weights_sha256", "plan", "crop", "grey")}
    return {"name": name, **facts, "failed": run["failed"], "pairs": pairs, "mean": run["mean"]}


def table(runs: list[Run]) -> str:
    """Every pair of every run, and the runs' means."""
    head = ["drawn by", "driving", "target", "frames", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---:|" + "---:|" * len(COLUMNS)]
    for run in runs:
        for pair in run["pairs"]:
            lines.append(_line([run["name"], pair["driving"], pair["target"], str(pair["frames"])], pair, COLUMNS))
        lines.append(_line([run["name"], "**mean**", "", ""], run["mean"], COLUMNS))
    return "\n".join(lines)


def headline(runs: list[Run]) -> str:
    """Means over the pairs of the first run, by everything that drew them."""
    first = [(pair["driving"], pair["target"]) for pair in runs[0]["pairs"]]
    lines = ["| drawn by | " + " | ".join(_FRONT) + " |", "|---|" + "---:|" * len(_FRONT)]
    for run in runs:
        if [(pair["driving"], pair["target"]) for pair in run["pairs"]] == first:
            lines.append(_line([run["name"]], run["mean"], _FRONT))
    return "\n".join(lines)


def _line(cells: list[str], row: dict[str, Any], columns: tuple[str, ...]) -> str:
    numbers = {key: float("nan") if row.get(key) is None else float(row[key]) for key in COLUMNS}
    shown = dict(zip(COLUMNS, figures_text(numbers), strict=True))
    return "| " + " | ".join([*cells, *(shown[key] for key in columns)]) + " |"


def main() -> None:
    """Keep the figures, and write the tables."""
    if named := [word.split("=", 1) for word in sys.argv[1:]]:
        runs = [kept(name, json.loads(Path(path).read_text())) for name, path in named]
        RESULT.write_text(json.dumps(runs, indent=1) + "\n")
    runs = json.loads(RESULT.read_text())
    for page, made in ((README, table(runs)), (FRONT_PAGE, headline(runs))):
        page.write_text(between(page.read_text(), BEGIN, END, made))


if __name__ == "__main__":
    main()
