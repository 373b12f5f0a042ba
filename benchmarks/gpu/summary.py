"""The few lines that `make gpu` prints last."""

from __future__ import annotations

from typing import Any

_SHOWN = 25


def summary(result: dict[str, Any]) -> str:
    """Stages, errors, speeds, faults."""
    stages = result["stages"]
    lines = [f"{result['device']}: {'PASSED' if result.get('passed') else 'NOT PASSED'}"]
    lines += [f"  {name:10} {row['status']:8} {row.get('seconds', 0):5.0f} s" for name, row in stages.items()]
    for room, row in stages.get("accuracy", {}).get("rooms", {}).items():
        worst = ", ".join(f"{kind} {found['excess']}" for kind, found in row["worst"].items())
        lines.append(f"  {room}: worst share of the allowed error: {worst}")
    for room, row in stages.get("mutants", {}).get("rooms", {}).items():
        lines.append(f"  {room}: {row['caught']}/{row['planted']} planted faults caught")
    for name, cases in stages.get("operators", {}).get("operators", {}).items():
        for case, row in cases.items():
            lines += _speeds(f"{name}, {case}", row)
    lines += _frames(stages.get("engine", {}))
    for name, row in stages.items():
        lines += [f"  FAULT {name}: {fault[:300]}" for fault in row.get("faults", [])[:_SHOWN]]
    return "\n".join(lines)


def _frames(row: dict[str, Any]) -> list[str]:
    lines = []
    for name, found in row.get("frames", {}).items():
        for variant, figures in found.get("variants", {}).items():
            time = f"{figures['ms']['p50']:.4g} ms, {figures['frames_per_s']:.4g} frames/s" if "ms" in figures else "-"
            error = f"{figures.get('psnr_db')} dB, keypoints off by {figures.get('keypoints_px')} px"
            lines.append(f"  {name}: {variant:34} {time}; {error}")
        lines += [f"  {name}: {key}: {value}" for key, value in found.items() if key.startswith("host to host")]
    lines += [f"  goal {goal['goal']:g} {name}: {goal['found']:.4g}" for name, goal in row.get("goals", {}).items()]
    return lines


def _speeds(name: str, row: dict[str, Any]) -> list[str]:
    lines = [f"  {name}:"]
    for variant, found in row.get("variants", {}).items():
        figures = [
            f"{kind} {found[f'{kind}_us']['p50']:.4g}" for kind in ("warm", "cold", "launched") if f"{kind}_us" in found
        ]
        rates = [
            f"{found[key]:.4g} {unit}"
            for key, unit in (("warm_gbs", "GB/s"), ("cold_gbs", "GB/s cold"))
            if key in found
        ]
        error = f"{found['share_of_allowed']} of the error" if "share_of_allowed" in found else ""
        lines.append(f"    {variant:42} us: {', '.join(figures)}; {', '.join(rates)}; {error}")
    return lines
