"""The page of model cards beside the shipped weights, made from the cards inside the files; `make figures` runs it too.

Scores come from results/lab.jsonl (`eamfmeg eval lab --weights small --out benchmarks/results/lab.jsonl`): the latest
row with camera noise and the latest without, of exactly these tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.evaluate.figures import FIGURES
from eamfmeg_fast.weights import PRETRAINED, StoredWeights, WeightsInfo, pretrained_names

PAGE = PRETRAINED / "README.md"
SCORES = Path(__file__).parent / "results" / "lab.jsonl"
WANTED = (
    "name licence trained_on held_out reconstruction steps steps_of_recipe pictures_seen hours machine stages seed "
    "accumulate picture_share loss_weights started_from limits intended_use misuse patent"
).split()
"""What the card of a shipped file has to say."""

_PURPOSE = {"small": "The small network, for live use.", "base": "The larger network, for clips."}
_STAGE = {
    "parts": "learns",
    "steps": "steps",
    "batch": "pairs",
    "size": "px",
    "rate": "rate",
    "front_rate": "rate of the front, x",
    "spots": "moles",
    "focus": "focus",
    "taught": "told keypoints",
    "things": "things",
}
_HEAD = """# Model cards

Made by `make figures` from the cards inside the weights files, which travel with them: `eamfmeg inspect small` prints
the same. The sha256 of a file changes when its card does, that of its tensors only with the network.
"""


def page(infos: list[WeightsInfo], scores: list[dict[str, Any]]) -> str:
    """The whole page.

    Args:
        infos: of the shipped files. scores: rows of lab.jsonl, the latest last.

    Raises:
        ValueError: the card of a file lacks something.
    """
    return "\n".join([_HEAD, *(section(info, scores) for info in infos)])


def section(info: WeightsInfo, scores: list[dict[str, Any]]) -> str:
    """One file's part of the page; arguments and errors as `page`."""
    card = info.card
    if missing := [key for key in WANTED if key not in card]:
        raise ValueError(f"the card of {info.path.name} lacks {', '.join(missing)}; train and publish it again")
    words = [
        f"## `{info.path.stem}`\n",
        f"{_PURPOSE.get(info.path.stem, '')} {_what(info)}".strip() + "\n",
        f"**Intended use.** {card['intended_use']}\n",
        f"**Misuse.** {card['misuse']}\n",
        f"**Trained on** {card['trained_on']}.\n",
        f"**Kept out of training:** {card['held_out']}.\n",
        f"**Limits.** {card['limits']}\n",
        *_effort(info),
        "### Recipe\n",
        *_recipe(card),
        "### Scores on held-out people of the lab\n",
        *_scores(info, scores),
        f"**Licence.** {card['licence']}. {card['patent']} The licence grants no right under the patent.\n",
    ]
    return "\n".join(words)


def kept_scores() -> list[dict[str, Any]]:
    """The rows of lab.jsonl; none where there is no such file."""
    lines = SCORES.read_text().splitlines() if SCORES.exists() else []
    return [json.loads(line) for line in lines if line.strip()]


def shipped() -> list[WeightsInfo]:
    """What is known of every shipped file."""
    return [StoredWeights(name).info for name in pretrained_names()]


def _what(info: WeightsInfo) -> str:
    config = PRESETS[info.preset]
    edge = "an edge head, " if config.edge else ""
    attention = f"{config.attention} attention, " if config.attention else ""
    return (
        f"Preset `{info.preset}`: {config.num_kp} keypoints, {edge}{attention}"
        f"pictures of {config.size} x {config.size}; {info.params / 1e6:.2f} M numbers."
    )


def _effort(info: WeightsInfo) -> list[str]:
    card = info.card
    scales = "yes" if info.activation_scales else "no"
    rows = {
        "file": f"`{info.path.name}`, {info.path.stat().st_size / 1e6:.1f} MB, {info.dtype}",
        "sha256 of the file": f"`{info.sha256}`",
        "sha256 of its tensors": f"`{info.content_sha256}`",
        "written by version": info.version,
        "scales for precision int8": scales,
        "steps": f"{card['steps']} of the recipe's {card['steps_of_recipe']}",
        "pictures seen": card["pictures_seen"],
        "hours": f"{card['hours']} on {card['machine']}",
        "began with the tensors": f"`{card['started_from']}`" if card["started_from"] else "random ones",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]


def _recipe(card: dict[str, Any]) -> list[str]:
    stages, weights = card["stages"], card["loss_weights"]
    keys = [key for key in _STAGE if any(key in stage for stage in stages)]
    keys += sorted({key for stage in stages for key in stage} - set(keys))
    lines = ["| " + " | ".join(_STAGE.get(key, key) for key in keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(_cell(stage.get(key, "")) for key in keys) + " |" for stage in stages]
    return [
        *lines,
        "",
        "`eamfmeg_fast/train/options.py` says what the columns mean. "
        f"Seed {card['seed']}; micro-batches a step: {card['accumulate']}; {100 * card['picture_share']:g} % of a "
        f"batch with things are things; pictures compared by {card['reconstruction']}. Weights of the losses: "
        + ", ".join(f"{name} {value:g}" for name, value in weights.items())
        + ".\n",
    ]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scores(info: WeightsInfo, scores: list[dict[str, Any]]) -> list[str]:
    mine = {row["noise"]: row for row in scores if row["content_sha256"] == info.content_sha256}
    if not mine:
        return ["None are kept for these very tensors; `eamfmeg eval lab` measures them.\n"]
    kinds = {True: "with camera noise", False: "without"}
    columns = [noise for noise in kinds if noise in mine]
    heads = [f"{kinds[noise]}, {mine[noise]['clips']} people, seed {mine[noise]['seed']}" for noise in columns]
    lines = ["| | " + " | ".join(heads) + " | goal |", "|---|" + "---|" * (len(heads) + 1)]
    for name, figure in FIGURES.items():
        values = [mine[noise]["mean"].get(name) for noise in columns]
        if any(value is not None for value in values):
            shown = [figure.show(float("nan") if value is None else value) for value in values]
            words = figure.words.replace("  ", "... ", 1)
            lines.append(f"| {words} | " + " | ".join(shown) + f" | {figure.goal} |")
    made = "; ".join(sorted({f"commit {mine[n]['commit']}, {mine[n]['plan']}, {mine[n]['machine']}" for n in columns}))
    return [*lines, "", f"Measured by `eamfmeg eval lab` ({made}).\n"]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(shipped(), kept_scores()))
    print(PAGE)


if __name__ == "__main__":
    main()
