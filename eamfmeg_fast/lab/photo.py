"""Moves the face in a photograph by action units: the lab's muscles, lids and lips on a picture instead of a painting.

A feature for users, with pictures they have the right to use. Training never reads it: no shipped weight comes from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.kernels.warp_occlude.reference import warp_cubic
from eamfmeg_fast.lab.action_units import intensity_vector, muscle_set
from eamfmeg_fast.lab.anatomy import LANDMARKS, landmark_places, mouth_line, outline_depth
from eamfmeg_fast.lab.apertures import LIP_REACH, Slit, eye_slit, mouth_slit
from eamfmeg_fast.lab.edges import edge_map
from eamfmeg_fast.lab.envelope import Envelope, draw_envelope
from eamfmeg_fast.lab.motion import Expression, Motion, build_motion, sample_field, soften
from eamfmeg_fast.lab.noise import smoothstep
from eamfmeg_fast.lab.photo_fit import HeadMap, fit_head, mean_face
from eamfmeg_fast.lab.seeds import Draw, mix

Tensor = torch.Tensor
Pair = tuple[Tensor, Tensor]

SMALLEST, LARGEST = 64, 1024
_LID_REACH = (0.10, 0.12)
_STILL_PX = 0.02
_MOST_STRETCH = 0.5


@dataclass(frozen=True)
class PhotoFrame:
    """One frame.

    image: uint8 [H, W, 3] RGB.
    displacement_px: float32 [H, W, 2]: this frame at p shows what the photograph shows at p + displacement_px[p], px.
    valid: bool [H, W], where that holds: not between the lips, not on the rim of a lid.
    edges: float32 [64, 64] in [0, 1], bright lines.
    landmarks_px: float32 [L, 2] in the order of LANDMARKS; 0 is the centre of the first pixel.
    """

    image: Tensor
    displacement_px: Tensor
    valid: Tensor
    edges: Tensor
    landmarks_px: Tensor


@dataclass(frozen=True)
class PhotoClip:
    """A micro-expression of the face in a photograph; `frames` draws it, one frame at a time.

    photo: uint8 [H, W, 3] RGB, which is also frame 0.
    intensity: float32 [T, A] in the order of ACTION_UNITS, mean of both sides.
    onset, apex, offset: frame numbers.
    """

    photo: Tensor
    intensity: Tensor
    onset: int
    apex: int
    offset: int
    fps: Fraction
    _sitter: _Sitter
    _sides: Tensor

    def __len__(self) -> int:
        return len(self.intensity)

    def frames(self) -> Iterator[PhotoFrame]:
        """All frames in order; no more than one is held."""
        rest = self._sitter.rest()
        level = edge_map(_planes(self.photo))[1]
        for sides in self._sides:
            yield rest if not bool(sides.any()) else self._sitter.draw(sides[None], level)


def photo_clip(
    photo: Tensor, landmarks: Mapping[str, tuple[float, float]], action_units: dict[int, float], *,
    fps: int | Fraction = 200, seed: int = 0, duration_s: float | None = None, symmetric: bool = False,
) -> PhotoClip:  # fmt: skip
    """A clip of one micro-expression of the face in a photograph. The head itself stays where it is.

    Args:
        photo: uint8 [H, W, 3] RGB, sides of 64 to 1024; the eyes open, the mouth closed.
        landmarks: (x, y) in pixels by name of `lab.LANDMARKS`, 0 being the centre of the first pixel; the others
            follow from the lab's mean face.
        action_units: FACS numbers and intensities at the apex (0 to 2, 1 is strong).
        fps, duration_s: as `draw_envelope`. seed: of timing and of which side is stronger.
        symmetric: both sides move alike.

    Raises:
        OptionError: a value out of range, or landmarks that make no face. ShapeError, DtypeError: no such photo.
    """
    _check(photo)
    peak = intensity_vector(action_units)
    take = mix(seed, 0xF0, 0x70)
    envelope: Envelope = draw_envelope(take, fps, duration_s)
    draw = Draw([take], 0xAC, "cpu", width=4)
    uneven = 0.0 if symmetric else float(draw.chance(0.25) * draw.uniform(-0.6, 0.6))
    sides = peak[:, None] * torch.tensor([1.0 - max(uneven, 0.0), 1.0 + min(uneven, 0.0)])
    with torch.no_grad():
        sitter = _Sitter(photo, fit_head(landmarks), landmarks)
        still = torch.zeros(1)
        sides = soften(sitter.muscles, Expression(sides[None], still, still)).intensity[0]
    course = envelope.amount[:, None, None] * sides[None]
    return PhotoClip(
        photo, course.mean(2), envelope.onset, envelope.apex, envelope.offset, envelope.fps, sitter, course
    )  # fmt: skip


def _check(photo: Tensor) -> None:
    if photo.dtype != torch.uint8:
        raise DtypeError(f"a photo of type {photo.dtype}", "uint8", "Scale it to 0...255 and convert it.")
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ShapeError(f"a photo of shape {list(photo.shape)}", "[H, W, 3] RGB", "Reorder its axes.")
    if not all(SMALLEST <= side <= LARGEST for side in photo.shape[:2]):
        got = f"a photo of {photo.shape[1]}x{photo.shape[0]} pixels"
        raise OptionError(got, f"sides of {SMALLEST} to {LARGEST}", "Cut out the face, or resize it.")


def _planes(photo: Tensor) -> Tensor:
    return photo.permute(2, 0, 1)[None].float() / 255.0


class _Sitter:
    """A photograph with the head map laid over it; what depends on no expression is computed once."""

    def __init__(self, photo: Tensor, head: HeadMap, landmarks: Mapping[str, tuple[float, float]]) -> None:
        self.photo, self.head, self.face = photo, head, mean_face()
        self.muscles = muscle_set(self.face)
        height, width = photo.shape[:2]
        y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
        head_x, head_y = head.to_head(x[None], y[None])
        depth = outline_depth(self.face.shape, head_x.abs(), head_y)
        fade = smoothstep((depth + 0.09) / 0.09)
        self.box = _box(fade[0] > 0)
        self.at, self.x, self.y, self.fade = (
            (x[self.box], y[self.box]), head_x[:, *self.box], head_y[:, *self.box], fade[:, *self.box],
        )  # fmt: skip
        self.picture = photo[None].float()
        self.places_px, self.places = self._landmarks(landmarks)
        self.dark = self._dark()

    def _landmarks(self, given: Mapping[str, tuple[float, float]]) -> tuple[Tensor, Pair]:
        """Landmarks in pixels, [L, 2], those given where they were given, and in head units, [1, 1, L] each."""
        mean = landmark_places(self.face)[:, None]
        places = torch.stack(self.head.to_photo(mean[..., 0], mean[..., 1]), -1)[0, 0]
        for name, place in given.items():
            places[LANDMARKS.index(name)] = torch.tensor(place)
        return places, self.head.to_head(places[None, None, :, 0], places[None, None, :, 1])

    def _dark(self) -> Tensor:
        """Colour between open lips: that of the darkest places along the closed ones, darker still."""
        across = torch.linspace(-0.15, 0.15, 31)[None, None]
        line = mouth_line(self.face.shape, across.abs())[0]
        rows = torch.cat([line + 0.01 * k for k in (-1, 0, 1)], 1)
        found = self._look(*self.head.to_photo(across.expand(1, 3, 31), rows))[0].reshape(-1, 3)
        return 0.55 * found[found.sum(1).argsort()[:20]].mean(0)

    def _look(self, x: Tensor, y: Tensor) -> Tensor:
        """The photograph at pixels, cubic, [1, h, w, 3] in 0..255."""
        size = self.picture.new_tensor([self.photo.shape[1], self.photo.shape[0]])
        return warp_cubic(self.picture, (2.0 * torch.stack([x, y], -1) + 1.0) / size - 1.0)

    def rest(self) -> PhotoFrame:
        """The photograph itself."""
        height, width = self.photo.shape[:2]
        edges = edge_map(_planes(self.photo))[0][0]
        way, valid = torch.zeros(height, width, 2), torch.ones(height, width, dtype=torch.bool)
        return PhotoFrame(self.photo, way, valid, edges, self.places_px)

    @torch.no_grad()
    def draw(self, sides: Tensor, level: Tensor) -> PhotoFrame:
        """A frame with intensities [1, A, 2] (left, right); `level` is the photograph's edge contrast."""
        still = torch.zeros(1)
        motion = build_motion(self.muscles, Expression(sides, still, still))
        way, eye_way, (eyes, lips) = self._ways(motion)
        colour = self._paint(way, eye_way, eyes, lips)
        rim = (eyes > 0.0) & (eyes < 1.0) & ((way - eye_way).norm(dim=-1) > _STILL_PX)
        way = torch.where((eyes > 0.5)[..., None], eye_way, way)
        end = torch.stack(self.at, -1) + way
        inside = ((end >= 0) & (end <= end.new_tensor([self.photo.shape[1], self.photo.shape[0]]) - 1)).all(-1)
        photo = self.rest()
        image = self.photo.clone()
        image[self.box] = colour
        photo.displacement_px[self.box] = way[0]
        photo.valid[self.box] = (inside & ~rim & (lips == 0.0))[0]
        edges = edge_map(_planes(image), level)[0][0]
        return PhotoFrame(image, photo.displacement_px, photo.valid, edges, self._moved(motion))

    def _ways(self, motion: Motion) -> tuple[Tensor, Tensor, Pair]:
        """Ways back to the photograph, px [1, h, w, 2], of skin and of what lids uncover; covers of eyes and lips."""
        shape, (x, y) = self.face.shape, (self.x, self.y)
        dx, dy = sample_field(motion.back, x, y)
        skin_x, skin_y = x + dx, y + dy
        eye, mouth = (
            _lids(eye_slit(shape, skin_x, motion.slits), motion, skin_x),
            mouth_slit(shape, skin_x, motion.slits),
        )
        pixel = torch.tensor(1.0 / self.head.scale)
        dy = dy + eye.backward(skin_y, _LID_REACH) + mouth.backward(skin_y, LIP_REACH)
        skin = torch.stack(self.head.change(x, y, self.fade * dx, self.fade * dy), -1)
        ball = torch.stack(self.head.change(x, y, torch.zeros_like(x), _eyeball(y, eye, motion, skin_x)), -1)
        covers = eye.cover(skin_y, pixel), mouth.cover(skin_y, pixel)
        return _settled(skin), _settled(ball), covers

    def _paint(self, way: Tensor, eye_way: Tensor, eyes: Tensor, lips: Tensor) -> Tensor:
        x, y = self.at
        original = self.picture[0][self.box]
        colour = torch.where(
            (way[0] == 0).all(-1, keepdim=True), original, self._look(x + way[..., 0], y + way[..., 1])[0]
        )
        seen = (eyes > 0) & ((eye_way != way).any(-1))
        if bool(seen.any()):
            end = torch.stack([x, y], -1)[seen[0]] + eye_way[seen]
            ball = self._look(end[None, None, :, 0], end[None, None, :, 1])[0, 0]
            here = seen[0]
            colour[here] += (ball - colour[here]) * eyes[seen][:, None]
        colour = colour + (self.dark - colour) * lips[0][..., None]
        return colour.clamp(0.0, 255.0).round().to(torch.uint8)

    def _moved(self, motion: Motion) -> Tensor:
        (x, y), shape = self.places, self.face.shape
        slit = _lids(eye_slit(shape, x, motion.slits), motion, x).forward(y, _LID_REACH)
        slit = slit + mouth_slit(shape, x, motion.slits).forward(y, LIP_REACH)
        dx, dy = sample_field(motion.pull, x, y + slit)
        dy = dy + slit
        return self.places_px + torch.stack(self.head.change(*self.places, dx, dy), -1)[0, 0]


def _box(inside: Tensor) -> tuple[slice, slice]:
    """Rows and columns that hold everything in a mask [H, W]; all of them where it is empty."""
    rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
    if not len(rows):
        return slice(0, inside.shape[0]), slice(0, inside.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _lids(eye: Slit, motion: Motion, x: Tensor) -> Slit:
    """The slit with an upper lid that rises less and less: a photograph has no more eye than it shows."""
    top = eye.upper + eye.upper_moved
    rise = (eye.upper - top - sample_field(motion.pull, x, top)[1]).clamp(min=0.0)
    most = (_MOST_STRETCH * (eye.lower - eye.upper)).clamp(min=1e-6)
    return Slit(eye.upper, eye.lower, eye.upper_moved + rise * rise / (rise + most), eye.lower_moved)


def _eyeball(y: Tensor, eye: Slit, motion: Motion, x: Tensor) -> Tensor:
    """Offset that keeps what is seen through a lid that went wider inside the eye that the photograph shows.

    Where a margin moves outwards, the eye is stretched after it, most at that margin, not at all at the other one; an
    eye that closes stays as it is and is covered.
    """
    top, bottom = eye.upper + eye.upper_moved, eye.lower + eye.lower_moved
    top, bottom = top + sample_field(motion.pull, x, top)[1], bottom + sample_field(motion.pull, x, bottom)[1]
    part = ((y - top) / (bottom - top).clamp(min=1e-4)).clamp(0.0, 1.0)
    return (eye.upper - top).clamp(min=0.0) * (1.0 - part) - (bottom - eye.lower).clamp(min=0.0) * part


def _settled(way: Tensor) -> Tensor:
    """A way in pixels, exactly zero where it would be too short to be seen."""
    length = way.norm(dim=-1, keepdim=True)
    return way * smoothstep((length - 0.5 * _STILL_PX) / _STILL_PX)
