"""The failure gallery: movements that the shipped weights do not repeat, each beside what it should have been."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eamfmeg_fast.lab import HELD_OUT_SEEDS, LANDMARKS, lab_clip
from eamfmeg_fast.retargeter import Retargeter

Picture = np.ndarray[Any, Any]

COLUMNS = ("target", "driving at rest", "driving, apex", "result", "should be", "result, close", "should be, close")
FAILS_FROM = 1 / 3
"""A row is shown while at least this much of the squared difference that the movement makes is left, close up."""
_PANEL, _GAP, _EDGE, _HEAD, _LINE = 148, 5, 8, 28, 19
_INK, _PAPER, _QUIET = (25, 25, 25), (250, 250, 250), (95, 95, 95)
_WRAP = 150
_LEVELS, _AROUND = 8, 5
_CLOSE: dict[str, tuple[tuple[str, ...], int]] = {
    "mouth": (("lip_corner_left", "lip_corner_right", "upper_lip", "lower_lip"), 104),
    "eyes": (("upper_lid_left", "upper_lid_right"), 128),
    "brows": (("inner_brow_left", "inner_brow_right", "upper_lid_left", "upper_lid_right"), 128),
    "face": (("upper_lid_left", "upper_lid_right", "upper_lip"), 160),
}
"""What is shown close up: the middle of some landmarks of the target, and the side in pixels of the 256."""


@dataclass(frozen=True)
class Failure:
    """One row.

    Attributes:
        name: short. asked, wrong: what the driving clip does, and what the result does instead.
        driver, target: number of the held-out person, and of the take.
        units, gaze, turn: the movement, as `lab_clip`. close: of `_CLOSE`.
        backwards: from the apex to rest, for both people.
    """

    name: str
    asked: str
    wrong: str
    driver: tuple[int, int]
    target: tuple[int, int]
    close: str
    units: dict[int, float] = field(default_factory=dict)
    gaze: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    backwards: bool = False


FAILURES = (
    Failure(
        "teeth",
        "lips part and smile widely (AU 25 + 12, both at 2).",
        "no tooth is drawn that the target did not show; closed lips are stretched, not parted.",
        (3, 5), (17, 18), "mouth", units={25: 2.0, 12: 2.0},
    ),
    Failure(
        "gaze",
        "the eyes glance far to the side.",
        "the target goes on looking nearly where it looked.",
        (9, 2), (3, 5), "eyes", gaze=(0.09, 0.0),
    ),
    Failure(
        "closed eyes",
        "eyes that are shut in the first frame open (AU 45 from 1 to 0).",
        "no iris is drawn that the target did not show; a closed lid is only stretched.",
        (9, 2), (17, 18), "eyes", units={45: 1.0}, backwards=True,
    ),
    Failure(
        "head turn",
        "the head turns by 15 degrees.",
        "features slide over a head that turns too little; where it meets the wall, pixels are torn.",
        (3, 5), (9, 2), "face", turn=(15.0, 0.0),
    ),
    Failure(
        "fringe",
        "brows rise (AU 1 + 2) under a fringe.",
        "the brows rise too little, and the lids do not follow them.",
        (3, 5), (120, 27), "brows", units={1: 1.5, 2: 1.5},
    ),
    Failure(
        "glasses",
        "brows are drawn together and lids tighten (AU 4 + 7).",
        "the rims bend with the skin, and no crease comes between the brows.",
        (9, 2), (30, 20), "brows", units={4: 1.5, 7: 1.3},
    ),
    Failure(
        "beard",
        "chin rises, corners of the mouth sink (AU 17 + 15).",
        "lips move too little, and the beard is smeared.",
        (3, 5), (245, 37), "mouth", units={17: 1.6, 15: 1.6},
    ),
    Failure(
        "too large",
        "everything at twice the strength of a strong micro-expression (AU 1 + 2 + 5 + 20 + 25 at 2).",
        "the mouth stays shut, irises are stretched with the lids, and no wrinkle comes.",
        (9, 2), (16, 7), "face", units={1: 2.0, 2: 2.0, 5: 2.0, 20: 2.0, 25: 2.0},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A failure as it was drawn.

    Attributes:
        pictures: five, uint8 `[256, 256, 3]`, in the order of COLUMNS. box: (left, top, side), what is shown close up.
        left: how much of the squared difference that the movement makes is left there; 1 is as bad as doing nothing.
    """

    failure: Failure
    pictures: tuple[Picture, ...]
    box: tuple[int, int, int]
    left: float


def draw_row(retargeter: Retargeter, failure: Failure) -> Row:
    """Let the network try."""
    rest, apex, _ = _two_frames(failure, failure.driver)
    target, truth, places = _two_frames(failure, failure.target)
    engine = retargeter.engine
    state, initial, driving = engine.prepare(target), engine.detect(rest), engine.detect(apex)
    result = engine.step(state, initial, driving, motion="relative", gain=1.0).image
    box = _box(places, failure.close)
    where = _changed(target, truth, box)
    left = _squared(result, truth, where) / _squared(target, truth, where)
    return Row(failure, (target, rest, apex, result, truth), box, left)


def gallery(retargeter: Retargeter, on_row: Callable[[], None] = lambda: None) -> tuple[Image.Image, list[Row]]:
    """The picture with the rows that still fail, and all rows."""
    rows = []
    for failure in FAILURES:
        rows.append(draw_row(retargeter, failure))
        on_row()
    return draw_gallery([row for row in rows if row.left >= FAILS_FROM]), rows


def draw_gallery(rows: list[Row]) -> Image.Image:
    """Rows below each other, each under its words."""
    words = [_words(number, row) for number, row in enumerate(rows, 1)]
    pitch = _PANEL + _GAP
    height = _HEAD + sum(len(lines) * _LINE + _PANEL + 2 * _GAP for lines in words) + _EDGE
    sheet = Image.new("RGB", (2 * _EDGE + len(COLUMNS) * pitch, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        pen.text((_EDGE + column * pitch, 6), name, _INK, ImageFont.load_default(15))
    top = _HEAD
    for row, lines in zip(rows, words, strict=True):
        for line, colour in lines:
            pen.text((_EDGE, top), line, colour, ImageFont.load_default(14))
            top += _LINE
        for column, panel in enumerate(_panels(row)):
            sheet.paste(Image.fromarray(panel), (_EDGE + column * pitch, top))
        top += _PANEL + 2 * _GAP
    return sheet


def _words(number: int, row: Row) -> list[tuple[str, tuple[int, int, int]]]:
    head = f"{number}. {row.failure.name}. Asked: {row.failure.asked}"
    tail = f"Wrong: {row.failure.wrong} Difference left, close up: {100 * row.left:.0f} %."
    return [(line, ink) for text, ink in ((head, _INK), (tail, _QUIET)) for line in textwrap.wrap(text, _WRAP)]


def _panels(row: Row) -> list[Picture]:
    left, top, side = row.box
    close = [row.pictures[k][top : top + side, left : left + side] for k in (3, 4)]
    return [_fitted(picture) for picture in (*row.pictures, *close)]


def _fitted(picture: Picture) -> Picture:
    how = cv2.INTER_AREA if picture.shape[0] > _PANEL else cv2.INTER_CUBIC
    out: Picture = cv2.resize(picture, (_PANEL, _PANEL), interpolation=how)
    return out


def _two_frames(failure: Failure, who: tuple[int, int]) -> tuple[Picture, Picture, Picture]:
    """Where a person's movement begins and where it ends, without camera noise, and the landmarks at its beginning."""
    clip = lab_clip(
        HELD_OUT_SEEDS[who[0]], action_units=failure.units, gaze=failure.gaze, turn=failure.turn, seed=who[1],
        fps=25, duration_s=0.08, drift=0.0, noisy=False, symmetric=True,
    )  # fmt: skip
    first, last = (clip.apex, 0) if failure.backwards else (0, clip.apex)
    return clip.frames[first].numpy(), clip.frames[last].numpy(), clip.landmarks_px[first].numpy()


def _box(places: Picture, close: str) -> tuple[int, int, int]:
    names, side = _CLOSE[close]
    middle = np.mean([places[LANDMARKS.index(name)] for name in names], axis=0)
    left, top = (int(np.clip(round(float(at) - side / 2), 0, 256 - side)) for at in middle)
    return left, top, side


def _changed(one: Picture, other: Picture, box: tuple[int, int, int]) -> Picture:
    """Pixels of the box where two pictures differ, and those around them, bool `[256, 256]`."""
    left, top, side = box
    differs = np.abs(one.astype(np.int16) - other).max(-1) > _LEVELS
    around = cv2.dilate(differs.astype(np.uint8), np.ones((_AROUND, _AROUND), np.uint8)) > 0
    out = np.zeros_like(around)
    window = np.s_[top : top + side, left : left + side]
    out[window] = around[window]
    return out


def _squared(one: Picture, other: Picture, where: Picture) -> float:
    return float(((one[where].astype(np.float64) - other[where]) ** 2).sum())
