"""The README's table of the shipped weights on held-out people of the lab; `make lab` measures and writes it.

A column is the latest row of results/lab.jsonl for exactly these tensors, with the camera's noise or without.
"""

from __future__ import annotations

from typing import Any

from cards import kept_scores
from engine_table import FRONT_PAGE, between

from eamfmeg_fast.evaluate.figures import FIGURES
from eamfmeg_fast.weights import StoredWeights, pretrained_names

BEGIN, END = "<!-- made by benchmarks/lab_table.py -->", "<!-- end of lab -->"
SHOWN = (
    "psnr_moving psnr_still motion_px end_point_error_px error_share still_error_px intensity_gain "
    "apex_error_frames cross_likeness jitter_px jitter_processed_px"
).split()
_KINDS = {True: "noisy", False: "clean"}

Row = dict[str, Any]


def shipped_scores(rows: list[Row]) -> dict[str, Row]:
    """Means by the head of their column, as far as there are any.

    Args:
        rows: of lab.jsonl, the latest last.
    """
    found = {}
    for name in pretrained_names():
        content = StoredWeights(name).info.content_sha256
        for noise, words in _KINDS.items():
            mine = [row for row in rows if row["content_sha256"] == content and row["noise"] == noise]
            if mine:
                found[f"`{name}`, {words}"] = mine[-1]["mean"]
    return found


def table(scores: dict[str, Row]) -> str:
    """The table; a figure that was not measured is "-"."""
    lines = ["| | " + " | ".join(scores) + " | wanted |", "|---|" + "---|" * (len(scores) + 1)]
    for name in SHOWN:
        figure = FIGURES[name]
        cells = [figure.show(float(mean.get(name, float("nan")))) for mean in scores.values()]
        words = figure.words.replace("  ", "... ", 1)
        lines.append(f"| {words} | " + " | ".join(cells) + f" | {figure.goal} |")
    return "\n".join(lines)


def main() -> None:
    """Write it into the README, and print it."""
    made = table(shipped_scores(kept_scores()))
    FRONT_PAGE.write_text(between(FRONT_PAGE.read_text(), BEGIN, END, made))
    print(made)


if __name__ == "__main__":
    main()
