"""The table of lab scores in the README: `python benchmarks/lab_table.py [clips]` measures, keeps and prints it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "small.json"
WORDS = {
    "psnr": "PSNR of the whole picture",
    "psnr_moving": "PSNR inside the moving mask",
    "psnr_still": "the unmoved target scores there",
    "end_point_error_px": "end-point error of the flow there",
    "motion_px": "true motion there",
}


def rows(result: dict[str, dict[str, float]]) -> list[str]:
    """The lines of the table from the means with and without camera noise."""
    lines = []
    for name, words in WORDS.items():
        unit = "px" if name.endswith("_px") else "dB"
        digits = 2 if unit == "px" else 1
        values = " | ".join(f"{result[kind][name]:.{digits}f} {unit}" for kind in ("noisy", "clean"))
        lines.append(f"| {words} | {values} |")
    return lines


def measure(clips: int) -> dict[str, object]:
    """Score the shipped `small` on held-out lab people."""
    from eamfmeg_fast.evaluate import score_lab, summary
    from eamfmeg_fast.retargeter import Retargeter

    retargeter = Retargeter.from_pretrained("small")
    means = {k: summary(list(score_lab(retargeter, clips, noisy=k == "noisy"))) for k in ("noisy", "clean")}
    return {"content_sha256": retargeter.content_sha256, "clips": clips, **means}


def main() -> None:
    """Measure, keep and print."""
    result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(rows(result)))


if __name__ == "__main__":
    main()
