"""Fits the lab's mean face to a photograph: which point of the head lies where in the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from torch.nn.functional import conv2d, grid_sample, pad

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.anatomy import LANDMARKS, landmark_places, lid_curves
from eamfmeg_fast.lab.identity import Identity, Shape, draw_identity
from eamfmeg_fast.lab.motion import FIELD, REACH, sample_field
from eamfmeg_fast.lab.noise import centres
from eamfmeg_fast.lab.seeds import TRAIN_SEEDS

Tensor = torch.Tensor
Places = Mapping[str, tuple[float, float]]

_CROWD = 64
_STEEPEST = 0.7
_WIDE, _NARROW = 0.8, 0.28
_ROUNDS = 60
_STEP = 0.005
_LEAST_CONTRAST = 0.03


@dataclass(frozen=True)
class HeadMap:
    """Head units to pixels: p = turn (q + local(q)) + shift, 0 being the centre of the first pixel.

    turn: scale cos(roll) and scale sin(roll), pixels per head unit. shift: (x, y) pixels.
    local: float32 [1, 2, FIELD, FIELD], head units, flat enough that the map can be inverted.
    """

    turn: tuple[float, float]
    shift: tuple[float, float]
    local: Tensor

    @property
    def scale(self) -> float:
        """Pixels per head unit."""
        return math.hypot(*self.turn)

    def to_photo(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Head units to pixels, [1, h, w] each."""
        dx, dy = sample_field(self.local, x, y)
        x, y = self._turned(x + dx, y + dy)
        return x + self.shift[0], y + self.shift[1]

    def to_head(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to head units, [1, h, w] each; the inverse of `to_photo`, by iteration."""
        (a, b), size = self.turn, self.scale**2
        x, y = x - self.shift[0], y - self.shift[1]
        x, y = (a * x + b * y) / size, (a * y - b * x) / size
        head_x, head_y = x, y
        for _ in range(_ROUNDS):
            dx, dy = sample_field(self.local, head_x, head_y)
            head_x, head_y = x - dx, y - dy
        return head_x, head_y

    def change(self, x: Tensor, y: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
        """to_photo(q + d) - to_photo(q) at head point q, exactly zero where d is."""
        before, after = sample_field(self.local, x, y), sample_field(self.local, x + dx, y + dy)
        return self._turned(dx + (after[0] - before[0]), dy + (after[1] - before[1]))

    def _turned(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.turn
        return a * x - b * y, b * x + a * y


@lru_cache(maxsize=1)
def mean_face() -> Identity:
    """A face with the mean geometry of many lab faces; a photograph's muscles are placed with it."""
    crowd = draw_identity(list(TRAIN_SEEDS[:_CROWD])).shape
    mean = {item.name: getattr(crowd, item.name).mean(0, keepdim=True) for item in fields(Shape)}
    return replace(draw_identity([0]), shape=replace(crowd, **mean))


def fit_head(landmarks: Places) -> HeadMap:
    """The head map under which the mean face has its landmarks at the given pixels, as nearly as a smooth map can.

    A similarity first (least squares), then a smooth local correction; where the landmarks would fold the face, the
    correction gives way.

    Args:
        landmarks: (x, y) in pixels by name of `lab.LANDMARKS`, at least three, not all in one place.

    Raises:
        OptionError: too few, an unknown name, or all in one place.
    """
    unknown = [name for name in landmarks if name not in LANDMARKS]
    if unknown or len(landmarks) < 3:
        got = f"landmark {unknown[0]!r}" if unknown else f"{len(landmarks)} landmarks"
        raise OptionError(got, f"at least 3 of: {', '.join(LANDMARKS)}")
    mean = landmark_places(mean_face())[0].double()
    names = list(landmarks)
    head = mean[[LANDMARKS.index(name) for name in names]]
    photo = torch.tensor([landmarks[name] for name in names], dtype=torch.float64)
    turn, shift = _similarity(head, photo)
    rest = torch.complex(*((photo - torch.tensor(shift)).unbind(1))) / complex(*turn)
    miss = torch.stack([rest.real, rest.imag], 1) - head
    trust = 1e-3
    while True:
        local = _smooth(head, miss, trust)
        steepest = max(float(local.diff(dim=k).abs().max()) for k in (2, 3)) * FIELD / (2.0 * REACH)
        if steepest < _STEEPEST:
            return HeadMap(turn, shift, local)
        trust *= 3.0


def _similarity(head: Tensor, photo: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least squares for photo = turn * head + shift, both as complex numbers."""
    p, q = torch.complex(*photo.unbind(1)), torch.complex(*head.unbind(1))
    spread = ((q - q.mean()).abs() ** 2).sum()
    turn = ((p - p.mean()) * (q - q.mean()).conj()).sum() / spread
    if not abs(complex(turn)) > 1.0:
        raise OptionError("landmarks that lie in one place", "a face of more than a few pixels", "Check their units.")
    shift = p.mean() - turn * q.mean()
    return (float(turn.real), float(turn.imag)), (float(shift.real), float(shift.imag))


def _kernel(distance: Tensor) -> Tensor:
    return 0.6 * torch.exp(-0.5 * (distance / _WIDE) ** 2) + 0.4 * torch.exp(-0.5 * (distance / _NARROW) ** 2)


def _smooth(places: Tensor, values: Tensor, trust: float) -> Tensor:
    """Kernel interpolation of [K, 2] values on the head square; a larger `trust` follows them less."""
    gram = _kernel(torch.cdist(places, places)) + trust * torch.eye(len(places), dtype=places.dtype)
    weights = torch.linalg.solve(gram, values)
    axis = centres(FIELD, "cpu").double() * REACH
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    found = _kernel(torch.cdist(torch.stack([x, y], -1).flatten(0, 1), places)) @ weights
    return found.t().reshape(1, 2, FIELD, FIELD).float()


def look_closer(photo: Tensor, landmarks: Places, keep: frozenset[str] = frozenset()) -> dict[str, tuple[float, float]]:
    """Landmarks with lids and the line between the lips moved to where the picture shows them.

    A network's keypoints are good to a few pixels; a lid that closes needs its margin. Eyes are found by their dark
    iris, margins by the steepest change above and below it, lips by the darkest line.

    Args:
        photo: uint8 [H, W, 3] RGB.
        landmarks: (x, y) in pixels by name, as `fit_head` takes them.
        keep: names that were given by a person and stay.

    Returns:
        The landmarks with those of eyes and mouth added or replaced; where the picture shows too little, as they were.
    """
    grey = (photo.float() @ torch.tensor([0.299, 0.587, 0.114]) / 255.0)[None, None]
    found = dict(landmarks)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        parts = {f"{name}_{side}" for name in ("upper_lid", "lower_lid", "inner_eye", "outer_eye")}
        if not parts & keep:
            found |= _eye(grey, fit_head(found), side, sign)
    lips = ("lip_corner_left", "lip_corner_right", "upper_lip", "lower_lip")
    if not keep.intersection(lips) and {*lips[:2]} <= found.keys():
        found |= _lips(grey, fit_head(found), (found[lips[0]], found[lips[1]]))
    return found


@dataclass(frozen=True)
class _Window:
    """A window of the picture, upright with the head but not bent with the face: `patch` [rows, columns], brightness.

    away_x, away_y: head units from `origin` (pixels) of its columns and rows.
    """

    head: HeadMap
    origin: tuple[float, float]
    away_x: Tensor
    away_y: Tensor
    patch: Tensor

    @classmethod
    def cut(cls, grey: Tensor, head: HeadMap, place: tuple[float, float], reach: tuple[float, float]) -> _Window:
        """The window around a head point, `reach` to each side."""
        origin = _pixel(head, place)
        away_x, away_y = _steps(reach[0]), _steps(reach[1])
        down, across = torch.meshgrid(away_y, away_x, indexing="ij")
        (a, b), size = head.turn, torch.tensor([grey.shape[3], grey.shape[2]])
        places = torch.stack([origin[0] + a * across - b * down, origin[1] + b * across + a * down], -1)[None]
        flow = (2.0 * places + 1.0) / size - 1.0
        found = grid_sample(grey, flow, padding_mode="border", align_corners=False)[0, 0]
        blur = torch.ones(1, 1, 3, 3) / 9.0
        found = conv2d(pad(found[None, None], (1, 1, 1, 1), mode="replicate"), blur)[0, 0]
        return cls(head, origin, away_x, away_y, found)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Head units from the origin to pixels."""
        a, b = self.head.turn
        return self.origin[0] + a * x - b * y, self.origin[1] + b * x + a * y


def _steps(reach: float) -> Tensor:
    count = round(reach / _STEP)
    return torch.arange(-count, count + 1) * _STEP


def _eye(grey: Tensor, head: HeadMap, side: str, sign: float) -> dict[str, tuple[float, float]]:
    """Landmarks of one eye from the picture, or none."""
    shape = mean_face().shape
    window = _Window.cut(grey, head, (sign * float(shape.eye_x), float(shape.eye_y)), (0.28, 0.22))
    iris = _iris(window)
    if iris is None:
        return {}
    row, column, contrast = iris
    near = window.patch[:, max(column - 6, 0) : column + 7].mean(1)
    slope = torch.zeros_like(near)
    slope[2:-2] = near[4:] - near[:-4]
    step = torch.arange(len(slope)) - row
    rise = -slope * torch.exp(-0.5 * ((step + 11.0) / 7.0) ** 2) * ((step < -2) & (step > -26))
    fall = slope * torch.exp(-0.5 * ((step - 11.0) / 6.0) ** 2) * ((step > 3) & (step < 24))
    if float(rise.max()) < 0.25 * contrast or float(fall.max()) < 0.12 * contrast:
        return {}
    # The rim of the pupil is as sharp as the lid below it: the last clear step is the lid's.
    last = int((fall > 0.45 * fall.max()).nonzero()[-1])
    last -= int(fall[last - 3 : last + 1].flip(0).argmax())
    upper, lower = float(window.away_y[rise.argmax()]) + 0.008, float(window.away_y[last])
    return _eye_landmarks(window, side, sign, (float(window.away_x[column]), upper, lower))


def _iris(window: _Window) -> tuple[int, int, float] | None:
    """Row and column of the darkest disc of an iris's size in a window, and how much darker than its sides it is."""
    radius = round(0.05 / _STEP)
    steps = torch.arange(-3 * radius, 3 * radius + 1, dtype=torch.float32)
    down, across = torch.meshgrid(steps[radius:-radius], steps, indexing="ij")
    disc = ((across**2 + (1.4 * down) ** 2) < radius**2).float()
    sides = ((across.abs() > 1.2 * radius) & (across.abs() < 2.6 * radius) & (down.abs() < 0.8 * radius)).float()
    kernel = sides / sides.sum() - disc / disc.sum()
    score = conv2d(window.patch[None, None], kernel[None, None])[0, 0]
    inner_y, inner_x = window.away_y[2 * radius : -2 * radius], window.away_x[3 * radius : -3 * radius]
    prior = torch.exp(-0.5 * ((inner_x[None] / 0.08) ** 2 + (inner_y[:, None] / 0.06) ** 2))
    row, column = divmod(int((score * prior).argmax()), score.shape[1])
    contrast = float(score[row, column])
    return None if contrast < _LEAST_CONTRAST else (row + 2 * radius, column + 3 * radius, contrast)


def _eye_landmarks(
    window: _Window, side: str, sign: float, seen: tuple[float, float, float]
) -> dict[str, tuple[float, float]]:
    """The mean eye laid over the margins seen at the iris: stretched down to their distance, moved to the iris."""
    shape = mean_face().shape
    places = _mean_places()
    upper, lower, _ = (float(part) for part in lid_curves(shape, shape.eye_x))
    column, seen_upper, seen_lower = seen
    stretch = (seen_lower - seen_upper) / (lower - upper)
    found = {}
    for name in ("upper_lid", "lower_lid", "inner_eye", "outer_eye"):
        x, y = places[f"{name}_{side}"]
        place = x + column - sign * float(shape.eye_x), seen_upper + stretch * (y - upper)
        found[f"{name}_{side}"] = window.pixel(*place)
    return found


def _lips(grey: Tensor, head: HeadMap, corners: tuple[tuple[float, float], ...]) -> dict[str, tuple[float, float]]:
    """Lips and their corners, moved up or down so that the line between the lips lies on the darkest one, or none."""
    shape = mean_face().shape
    half = 0.5 * math.dist(*corners) / head.scale
    if not 0.12 <= half <= 0.4:
        return {}
    window = _Window.cut(grey, head, (0.0, float(shape.mouth_y)), (0.8 * half, 0.16))
    patch, away = window.patch, round(0.04 / _STEP)
    ridge = torch.zeros_like(patch)
    ridge[away:-away] = (0.5 * (patch[2 * away :] + patch[: -2 * away]) - patch[away:-away]).clamp(min=0.0)
    level, tilt, bend = torch.meshgrid(
        torch.arange(-0.10, 0.101, _STEP), torch.linspace(-0.3, 0.3, 13), torch.linspace(-0.06, 0.06, 9), indexing="ij"
    )
    level, tilt, bend = level.reshape(-1, 1), tilt.reshape(-1, 1), bend.reshape(-1, 1)
    line = level + tilt * window.away_x + bend * (window.away_x / half) ** 2
    rows = ((line - window.away_y[0]) / _STEP).round().long().clamp(0, len(window.away_y) - 1)
    dark = ridge[rows, torch.arange(patch.shape[1])].mean(1)
    prior = torch.exp(-0.5 * ((level / 0.06) ** 2 + (tilt / 0.15) ** 2 + (bend / 0.04) ** 2))[:, 0]
    best = int((dark * prior).argmax())
    if float(dark[best]) < 0.5 * _LEAST_CONTRAST:
        return {}
    middle, slant, curve = float(level[best]), float(tilt[best]), float(bend[best])
    found = {
        "upper_lip": window.pixel(0.0, middle - 0.55 * float(shape.lip_upper)),
        "lower_lip": window.pixel(0.0, middle + 0.55 * float(shape.lip_lower)),
    }
    for name, (x, y) in zip(("lip_corner_left", "lip_corner_right"), corners, strict=True):
        (a, b), size = head.turn, head.scale**2
        across = (a * (x - window.origin[0]) + b * (y - window.origin[1])) / size
        found[name] = window.pixel(across, middle + slant * across + curve * (across / half) ** 2)
    return found


def _mean_places() -> dict[str, tuple[float, float]]:
    places = landmark_places(mean_face())[0].tolist()
    return {name: (x, y) for name, (x, y) in zip(LANDMARKS, places, strict=True)}


def _pixel(head: HeadMap, place: tuple[float, float]) -> tuple[float, float]:
    x, y = head.to_photo(torch.tensor([[[place[0]]]]), torch.tensor([[[place[1]]]]))
    return float(x), float(y)
