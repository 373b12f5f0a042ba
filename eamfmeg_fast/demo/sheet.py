"""The contact sheet: every stage of the network at onset, apex and offset."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from eamfmeg_fast.faces import Picture
from eamfmeg_fast.kernels.geometry import displacement_px
from eamfmeg_fast.retargeter import Retargeter
from eamfmeg_fast.retargeter.report import Target

_SIZE, _GAP, _HEAD, _SIDE = 256, 6, 34, 74
_INK, _PAPER, _QUIET = (25, 25, 25), (250, 250, 250), (120, 120, 120)
_COLUMNS = ("target", "driving", "keypoints x 8", "predicted edge", "displacement", "occlusion", "result", "change x 4")
_ARROW = 8


@dataclass(frozen=True)
class Phase:
    """One row: a name, the frame's number, the driving frame and the initial one, uint8 [256, 256, 3]."""

    name: str
    index: int
    driving: Picture
    initial: Picture


def contact_sheet(retargeter: Retargeter, target: Target, phases: list[Phase], panel: int = _SIZE) -> Image.Image:
    """Draw the sheet: one row for each phase, one column for each stage, panels of `panel` pixels on a side.

    The first phase is at rest: "change" is what differs from it.
    """
    traces = [retargeter.reference(target.picture, p.initial, p.driving) for p in phases]
    grid = retargeter.config.pixel_grid
    moved = [displacement_px(torch.from_numpy(trace["flow"][0]), grid, _SIZE).numpy() for trace in traces]
    largest = max(float(np.linalg.norm(m, axis=-1).max()) for m in moved)
    rest = _image(traces[0]["prediction"][0])
    width = _SIDE + len(_COLUMNS) * (panel + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + len(phases) * (panel + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(_COLUMNS):
        pen.text((_SIDE + column * (panel + _GAP), 8), name, _INK, ImageFont.load_default(17))
    for row, (phase, trace, way) in enumerate(zip(phases, traces, moved, strict=True)):
        top = _HEAD + row * (panel + _GAP)
        pen.text((8, top + 4), phase.name, _INK, ImageFont.load_default(17))
        pen.text((8, top + 28), f"frame {phase.index}", _QUIET, ImageFont.load_default(13))
        pen.text((8, top + 46), f"{np.linalg.norm(way, axis=-1).max():.1f} px", _QUIET, ImageFont.load_default(13))
        for column, picture in enumerate(_panels(target, phase, trace, way, largest, rest)):
            shown = cv2.resize(picture, (panel, panel), interpolation=cv2.INTER_AREA)
            sheet.paste(Image.fromarray(shown), (_SIDE + column * (panel + _GAP), top))
    return sheet


def _panels(
    target: Target, phase: Phase, trace: dict[str, np.ndarray], way: np.ndarray, largest: float, rest: Picture
) -> list[Picture]:
    result = _image(trace["prediction"][0])
    change = np.clip(128 + 4 * (result.astype(np.float32) - rest), 0, 255).astype(np.uint8)
    edge = trace.get("edge_warped")
    return [
        target.picture,
        phase.driving,
        _keypoints(phase.driving, trace["kp_initial"][0], trace["kp_driving"][0]),
        np.full_like(result, 255) if edge is None else _grey(edge[0, 0]),
        _wheel(way, largest),
        _grey(trace["occlusion"][0, 0]),
        result,
        change,
    ]


def _keypoints(picture: Picture, initial: np.ndarray, driving: np.ndarray) -> Picture:
    """Keypoints, with arrows eight times as long as they moved."""
    out = picture.copy()
    for start, now in zip((initial + 1) * 128, (driving + 1) * 128, strict=True):
        tip = now + _ARROW * (now - start)
        cv2.arrowedLine(out, _point(now), _point(tip), (255, 220, 0), 2, cv2.LINE_AA, tipLength=0.25)
        cv2.circle(out, _point(now), 3, (0, 220, 90), -1, cv2.LINE_AA)
    return out


def _point(at: np.ndarray) -> tuple[int, int]:
    return int(round(float(at[0]))), int(round(float(at[1])))


def _wheel(way: np.ndarray, largest: float) -> Picture:
    """Direction as hue, length as strength; white is at rest."""
    hsv = np.zeros((*way.shape[:2], 3), np.float32)
    hsv[..., 0] = np.degrees(np.arctan2(-way[..., 1], -way[..., 0])) % 360
    hsv[..., 1] = np.clip(np.linalg.norm(way, axis=-1) / max(largest, 1e-6), 0, 1)
    hsv[..., 2] = 1
    return _large(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _grey(values: np.ndarray) -> Picture:
    return _large(np.repeat(values[..., None], 3, -1).astype(np.float32))


def _large(values: np.ndarray) -> Picture:
    scaled = cv2.resize(values, (_SIZE, _SIZE), interpolation=cv2.INTER_NEAREST)
    return np.clip(scaled * 255 + 0.5, 0, 255).astype(np.uint8)


def _image(prediction: np.ndarray) -> Picture:
    return np.clip(prediction.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
