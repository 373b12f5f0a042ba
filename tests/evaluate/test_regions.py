"""Parts of the face, their motion over time, and the figure that shows it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from eamfmeg_fast.evaluate.curves import curves_svg
from eamfmeg_fast.evaluate.fidelity import INNER
from eamfmeg_fast.evaluate.regions import REGIONS, RegionCurves, find_regions
from eamfmeg_fast.lab import LANDMARKS

_PLACES = {
    "inner_brow": (0.12, -0.4), "outer_brow": (0.4, -0.42), "upper_lid": (0.28, -0.2), "lip_corner": (0.25, 0.45),
    "upper_lip": (0.0, 0.4), "lower_lip": (0.0, 0.55), "nose_tip": (0.0, 0.15),
}  # fmt: skip
_SVG = "{http://www.w3.org/2000/svg}"


def _face(count: int, shift: float = 0.0) -> np.ndarray:
    """Keypoints of a face like a mirror, in the order of LANDMARKS."""
    points = []
    for name in LANDMARKS[:count]:
        x, y = _PLACES[name.removesuffix("_left").removesuffix("_right")]
        points.append((shift + (-x if name.endswith("_left") else x), y))
    return np.array(points)


@pytest.mark.parametrize("count", [10, 11])
def test_every_part_is_where_its_keypoints_are(count: int) -> None:
    regions = find_regions(_face(count))
    assert tuple(regions.cells) == REGIONS
    assert sum(mask.sum() for mask in regions.cells.values()) == INNER.sum()
    for name, (x, y) in (("brows", (0.4, -0.42)), ("eyes", (-0.28, -0.2)), ("mouth", (0, 0.5)), ("nose", (0, 0.12))):
        assert regions.cells[name][int((y + 1) * 8), int((x + 1) * 8)], name
    assert regions.cells["rest"][11, 3] and not regions.cells["rest"][12, 8]


def test_motion_is_counted_away_from_the_middle() -> None:
    regions, motion = find_regions(_face(11, shift=0.2)), np.zeros((16, 16, 2))
    motion[..., 0] = np.where((2 * np.arange(16) + 1) / 16 - 1 < 0.2, -0.5, 0.5)
    motion[..., 1] = 0.25
    # In px of 128 here, of 256 there.
    assert np.allclose(regions.mean_px(motion), [[1.0, 0.5]] * 5)


def test_curves_are_compared_part_by_part() -> None:
    curves = RegionCurves(find_regions(_face(11)), find_regions(_face(11, shift=0.15)))
    for amount in np.sin(np.linspace(0, np.pi, 9)):
        driving, output = np.zeros((2, 16, 16, 2))
        driving[curves.driving.cells["mouth"], 1] = amount
        output[curves.output.cells["mouth"], 1] = 0.5 * amount
        driving[curves.driving.cells["eyes"], 1] = amount
        curves.step(driving, output)
    assert curves.curves().shape == (2, 5, 2, 9)
    found = curves.figures()
    assert found["mouth"] == pytest.approx({"corr": 1.0, "gain": 0.5, "peak_px": 2.0})
    assert found["eyes"] == pytest.approx({"corr": 0.0, "gain": 0.0, "peak_px": 2.0})
    assert found["brows"]["peak_px"] == 0 and found["brows"]["corr"] == 0


def test_the_figure_shows_every_curve_to_scale() -> None:
    curves = np.zeros((2, 5, 2, 30))
    curves[0, 3, 1] = np.linspace(0, -2, 30)
    curves[1, 3, 1] = np.linspace(0, -1, 30)
    svg = ElementTree.fromstring(curves_svg(curves, "a < b.gif"))
    words = [node.text for node in svg.iter(f"{_SVG}text")]
    assert "a < b.gif" in words and set(REGIONS) <= set(words) and {"driving", "result", "frame"} <= set(words)
    lines = [
        np.array([list(map(float, point.split(","))) for point in node.get("points", "").split()])
        for node in svg.iter(f"{_SVG}polyline")
    ]
    assert len(lines) == 20 and all(len(line) == 30 for line in lines)
    rise = [line[-1, 1] - line[0, 1] for line in lines]
    assert sorted(map(bool, rise)) == [False] * 18 + [True] * 2
    large, small = sorted((r for r in rise if r), reverse=True)
    # Up in the picture is up in the figure: a smaller y here, a greater y there.
    assert small > 0 and large == pytest.approx(2 * small, abs=0.2)
    width, height = float(svg.get("width", 0)), float(svg.get("height", 0))
    assert all((line >= 0).all() and (line <= (width, height)).all() for line in lines)


@pytest.mark.parametrize("most", [0.0, 0.3, 7.0, 40.0])
def test_any_strength_and_length_can_be_drawn(most: float) -> None:
    for frames in (3, 400):
        svg = ElementTree.fromstring(curves_svg(np.full((2, 5, 2, frames), most), "x"))
        assert 20 < len(list(svg.iter(f"{_SVG}text"))) < 150
