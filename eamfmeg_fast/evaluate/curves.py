"""A figure in SVG: how each part of the face moves over time, in the driving clip and in the result."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from eamfmeg_fast.evaluate.regions import REGIONS

Array = np.ndarray[Any, Any]

_LEFT, _TOP, _WIDE, _HIGH, _GAP_X, _GAP_Y = 96, 64, 380, 92, 64, 22
_COLOURS = ("#1f6fb4", "#d9591a")
_NAMES = ("driving", "result")
_INK, _QUIET, _LINE = "#222222", "#666666", "#dddddd"
_SMALLEST_PX = 0.25
_STEPS = (1, 2, 5, 10)


def curves_svg(curves: Array, title: str) -> str:
    """The figure: a row for each region, displacement outwards at the left and downwards at the right.

    Args:
        curves: `[2, 5, 2, T]` as `RegionCurves.curves`. title: the line above it.

    Returns:
        the text of an SVG picture. All panels have the same scale, so that what moves more looks it.
    """
    frames = curves.shape[-1]
    most = max(_SMALLEST_PX, float(np.abs(curves).max()))
    width = _LEFT + 2 * _WIDE + _GAP_X + 24
    height = _TOP + len(REGIONS) * (_HIGH + _GAP_Y) + 28
    body = [f'<rect width="{width}" height="{height}" fill="white"/>', _text(_LEFT, 22, title, size=15, bold=True)]
    body += _legend(width)
    for column, way in enumerate(("away from the middle, px at 256", "down, px at 256")):
        x = _LEFT + column * (_WIDE + _GAP_X)
        body.append(_text(x + _WIDE / 2, _TOP - 10, way, anchor="middle"))
        for row, name in enumerate(REGIONS):
            y = _TOP + row * (_HIGH + _GAP_Y)
            if column == 0:
                body.append(_text(14, y + _HIGH / 2 + 5, name, bold=True))
            body += _panel(x, y, curves[:, row, column], most)
            if row == len(REGIONS) - 1:
                body += _frame_axis(x, y + _HIGH, frames)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    head += f'viewBox="0 0 {width} {height}" font-family="sans-serif">'
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _panel(x: float, y: float, pair: Array, most: float) -> list[str]:
    """Both curves in a box with lines at round values."""
    body = [f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="{_LINE}"/>']
    scale = _HIGH / 2 / (most * 1.08)
    step = _round_step(most)
    for number in range(-int(most / step), int(most / step) + 1):
        level = y + _HIGH / 2 - number * step * scale
        colour = "#999999" if number == 0 else _LINE
        body.append(f'<path d="M{x} {level:.1f} H{x + _WIDE}" stroke="{colour}" stroke-width="1"/>')
        body.append(_text(x - 6, level + 4, f"{number * step:g}", anchor="end", size=11, colour=_QUIET))
    along = x + _WIDE * np.linspace(0, 1, max(pair.shape[-1], 2))
    for values, colour in zip(pair, _COLOURS):
        points = " ".join(f"{a:.1f},{y + _HIGH / 2 - v * scale:.1f}" for a, v in zip(along, values))
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return body


def _frame_axis(x: float, y: float, frames: int) -> list[str]:
    last = max(frames - 1, 1)
    step = max(1, round(_round_step(last / 2)))
    body = [
        _text(x + _WIDE * number / last, y + 15, str(number), anchor="middle", size=11, colour=_QUIET)
        for number in range(0, last + 1, step)
    ]
    return [*body, _text(x + _WIDE / 2, y + 32, "frame", anchor="middle", size=12, colour=_QUIET)]


def _legend(width: float) -> list[str]:
    body = []
    for index, (name, colour) in enumerate(zip(_NAMES, _COLOURS)):
        x = width - 210 + index * 100
        body.append(f'<path d="M{x} 18 H{x + 24}" stroke="{colour}" stroke-width="3"/>')
        body.append(_text(x + 30, 22, name))
    return body


def _round_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that two or three steps reach `most`."""
    power = 10.0 ** np.floor(np.log10(most / 2))
    return float(max(step for step in _STEPS if step * power <= most / 2 * 1.0001) * power)


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, bold: bool = False, colour: str = _INK
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}{weight}>{escape(words)}</text>"
