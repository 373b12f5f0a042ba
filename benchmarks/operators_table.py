"""The operator table of kernels/README.md, made from benchmarks/results/operators.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "kernels" / "README.md"
BEGIN, END = "<!-- made by benchmarks/operators.py -->", "<!-- end -->"
_SHOWN = 90
"""The architecture whose registers the table shows; all six are in the results."""


def table(result: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        "| operator | rooms | worst error, of what is allowed | planted faults caught "
        f"| CPU against others, 1 / 2 threads | Triton on sm_{_SHOWN}: most registers, spilled, shared |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["operators"].items():
        rooms = row["rooms"]
        cells = [
            f"`{name}`",
            ", ".join(rooms),
            ", ".join(f"{room} {found['excess']:.2f}" for room, found in rooms.items()),
            ", ".join(f"{room} {found['mutants']}" for room, found in rooms.items()),
            _speed(row.get("cpu")),
            _resources(row["triton"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    us = result["overhead_us"]
    lines += [
        "",
        f"One call on a single pixel takes {us['public']:.1f} µs through the public function and {us['room']:.1f} µs "
        f"straight into the room; `torch.clone` takes {us['clone']:.1f} µs.",
    ]
    return "\n".join(lines)


def _speed(cpu: dict[str, Any] | None) -> str:
    if cpu is None:
        return "none: a fault above"
    names = cpu["1"]["ratios"]
    return "; ".join(f"{name} {cpu['1']['ratios'][name]:.1f}x / {cpu['2']['ratios'][name]:.1f}x" for name in names)


def _resources(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "none"
    shown = [row for row in rows if row["sm"] == _SHOWN]
    most = {key: max(row[key] for row in shown) for key in ("registers", "spilled", "shared")}
    tensor = ", tensor cores" if any(row["tensor_cores"] for row in shown) else ""
    kernels = f"{len(shown)} kernels" if len(shown) > 1 else "1 kernel"
    return f"{kernels}: {most['registers']}, {most['spilled']}, {most['shared'] / 1024:.1f} KB{tensor}"


def write_table(result: dict[str, Any]) -> None:
    """Put the table between its marks."""
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{after}")


if __name__ == "__main__":
    write_table(json.loads(Path(sys.argv[1]).read_text()))
