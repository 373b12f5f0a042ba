"""The skin as a texture over the head square: colour, folds, brows, lips, nose, shaded, with its outline as alpha."""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.anatomy import brow_line, lid_curves, mouth_line, outline_depth
from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.motion import REACH
from eamfmeg_fast.lab.noise import bell, centres, smoothstep, spline_field
from eamfmeg_fast.lab.relief import light
from eamfmeg_fast.lab.seeds import Draw, normal_grids

Tensor = torch.Tensor


class Marks:
    """Where things are drawn, over the right half of the head: each method gives [B, H, W / 2] in 0..1."""

    def __init__(self, identity: Identity, side_x: Tensor, y: Tensor, soft: float) -> None:
        self.identity, self.s, self.look = identity, identity.shape, identity.look
        self.x, self.y, self.soft = side_x, y, soft
        self.upper, self.lower, self.profile = lid_curves(self.s, side_x)
        self.line, self.mouth_profile = mouth_line(self.s, side_x)
        self.eye_along = (side_x - self.s.eye_x) / self.s.eye_width

    def _edge(self, depth: Tensor, soft: float = 1.0) -> Tensor:
        return smoothstep(depth / (soft * self.soft) + 0.5)

    def lips(self) -> tuple[Tensor, Tensor]:
        """Upper and lower lip."""
        arc = (1.0 - (self.x / (self.s.mouth_width * 1.01)) ** 2).clamp(min=0.0)
        bow = 1.0 - 0.28 * bell(self.x, 0.034) - 0.12 * smoothstep((self.x - 0.06) / self.s.mouth_width)
        top = self.line - self.s.lip_upper * arc**0.85 * bow
        bottom = self.line + self.s.lip_lower * arc**0.75
        middle = self._edge(self.line - self.y)
        upper = smoothstep((self.y - top) / 0.018 + 0.5) * middle * smoothstep(arc * 4.0)
        lower = smoothstep((bottom - self.y) / 0.024 + 0.5) * (1.0 - middle) * smoothstep(arc * 4.0)
        return upper, lower

    def lip_line(self) -> Tensor:
        """The dark line between the lips and the shade at the corners."""
        inside = smoothstep((self.s.mouth_width * 1.05 - self.x) / 0.08)
        stroke = bell(self.y - self.line, 0.0085 + 0.5 * self.soft) * inside
        corner = bell(self.x - self.s.mouth_width, 0.030) * bell(self.y - self.line, 0.022)
        return (stroke * (0.6 + 0.25 * self.mouth_profile) + corner * 0.38).clamp(max=1.0)

    def brows(self) -> Tensor:
        """Brow hair."""
        line, along = brow_line(self.s, self.x)
        inside = along.clamp(0.0, 1.0)
        thick = self.s.brow_thick * (0.55 + 0.45 * smoothstep(inside * 5.0)) * (1.08 - 0.72 * inside * inside)
        window = smoothstep(along / 0.12 + 0.5) * smoothstep((1.0 - along) / 0.16 + 0.5)
        return smoothstep((thick - (self.y - line).abs()) / 0.020 + 0.5) * window

    def lashes(self) -> tuple[Tensor, Tensor]:
        """Upper lash line (with the shade of the lid margin) and the lower one."""
        near = smoothstep((1.10 - self.eye_along.abs()) / 0.2)
        weight = 0.55 + 0.45 * smoothstep(self.eye_along * 0.5 + 0.5)
        upper = bell((self.y - self.upper).clamp(max=0.0), 0.013 + 0.4 * self.soft) * smoothstep(
            (self.lower - self.y) / 0.02 + 1.0
        )
        lower = bell((self.y - self.lower).clamp(min=0.0), 0.009 + 0.4 * self.soft) * smoothstep(
            (self.y - self.upper) / 0.02 + 1.0
        )
        return upper * near * weight, lower * near

    def folds(self) -> Tensor:
        """Lid crease, bags under the eyes, nasolabial fold, wings of the nose: darkness."""
        s, look = self.s, self.look
        near = smoothstep((1.12 - self.eye_along.abs()) / 0.35)
        height = 0.030 + 0.012 * self.profile
        crease = bell(self.y - (self.upper - height), 0.0085 + 0.4 * self.soft) * near * look.crease * 0.60
        bag = bell(self.y - (self.lower + 0.030 + 0.030 * self.profile), 0.016) * near * (0.08 + 0.30 * look.age)
        down = ((self.y - (s.nose_y - 0.09)) / (s.mouth_y + 0.06 - s.nose_y + 0.09)).clamp(-0.2, 1.2)
        path = (
            s.nose_width
            + 0.012
            + (s.mouth_width + 0.055 - s.nose_width) * torch.sin(0.5 * torch.pi * down.clamp(min=0.0)) ** 1.2
        )
        fade = smoothstep(down * 2.5) * smoothstep((1.15 - down) * 1.6)
        away = self.x - path
        fold = (bell(away, 0.024) - 0.55 * bell(away - 0.042, 0.035)) * fade * (0.09 + 0.30 * look.age)
        wing_x, wing_y = (self.x - (s.nose_width - 0.055)) / 0.058, (self.y - (s.nose_y - 0.05)) / 0.062
        ring = torch.sqrt(wing_x * wing_x + wing_y * wing_y + 1e-6)
        wing = bell(ring - 1.0, 0.17) * smoothstep(wing_x * 0.9 + 0.25) * smoothstep(0.75 + wing_y) * 0.62
        return crease + bag + fold + wing

    def nose_shade(self) -> Tensor:
        """Nostrils and the shade under the tip."""
        s = self.s
        hole_x, hole_y = (self.x - 0.50 * s.nose_width) / (0.25 * s.nose_width), (self.y - s.nose_y + 0.012) / 0.018
        tilt = hole_y + 0.5 * hole_x
        nostril = smoothstep(1.35 - torch.sqrt(hole_x * hole_x + tilt * tilt + 1e-6))
        under = bell(self.x, s.nose_width * 0.95) * bell(self.y - (s.nose_y + 0.012), 0.026)
        return (nostril * 0.78 + under * 0.28).clamp(max=0.9)

    def hollows(self) -> Tensor:
        """Soft darkness of the eye sockets, temples, under the lip and along the outline."""
        s = self.s
        inner = bell(self.x - (s.eye_x - s.eye_width), 0.07) * bell(self.y - (s.eye_y - 0.02), 0.085) * 0.30
        lid = bell(self.x - s.eye_x, 0.17) * bell(self.y - (s.eye_y - 0.06), 0.06) * 0.13
        lip = bell(self.x, 0.16) * bell(self.y - (s.mouth_y + s.lip_lower + 0.022), 0.026) * 0.20
        return inner + lid + lip

    def wrinkles(self) -> Tensor:
        """Lines on the forehead and between the brows."""
        top = self.s.brow_y
        rise = 0.05 * (self.x / 0.4) ** 2
        lines = sum(bell(self.y - (top - 0.13 - 0.085 * k + rise), 0.010) for k in range(3))
        frown = bell(self.x - 0.055, 0.012) * bell(self.y - (top + 0.02), 0.07)
        return (lines * smoothstep((0.46 - self.x) / 0.2) + 0.8 * frown) * self.look.age * 0.26


def _mirror(half: Tensor) -> Tensor:
    return torch.cat([half.flip(-1), half], -1)


def _noises(identity: Identity, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Blotches, pores and fine grain, [B, size, size] each."""
    fields = []
    for salt, knots in ((1, (9, 18)), (2, (40, 80)), (3, (160, 230))):
        grids = [spline_field(normal_grids(identity.seeds, 16 * salt + k, (1, n, n), identity.device), size, size)[:, 0]
                 for k, n in enumerate(knots)]  # fmt: skip
        fields.append(0.75 * grids[0] + 0.6 * grids[1])
    return fields[0], fields[1], fields[2]


def _albedo(identity: Identity, marks: Marks, noises: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    look, s = identity.look, identity.shape
    blotch, pores, grain = noises
    flush = bell(marks.x - (s.eye_x + 0.10), 0.17) * bell(marks.y - (s.nose_y - 0.12), 0.15)
    flush = flush + 0.8 * bell(marks.x, 0.10) * bell(marks.y - (s.nose_y - 0.07), 0.09)
    spots = smoothstep((0.8 * pores + 0.8 * grain - 1.5) * 1.2) * bell(marks_full(marks.x), 0.5) * look.freckles
    moles = _moles(identity, marks_full(marks.x).shape[-1])
    value = (
        1.0
        + look.micro * (0.015 * blotch + 0.018 * pores + 0.024 * grain)
        - 0.22 * spots * bell(marks.y - 0.15, 0.35)
        - moles
    )
    red = _mirror(flush) * look.redness * 0.9 + 0.12 * blotch * look.redness
    tint = torch.tensor([0.05, -0.10, -0.09], device=value.device)[None, :, None, None]
    return look.skin * value[:, None] * (1.0 + tint * red[:, None])


def _moles(identity: Identity, size: int) -> Tensor:
    """A few small dark dots."""
    count = 5
    draw = Draw(identity.seeds, 0x301E, identity.device, width=4 * count)
    place = [
        torch.cat([draw.uniform(a, b) for _ in range(count)], 1)
        for a, b in ((-0.55, 0.55), (-0.5, 0.9), (0.008, 0.018), (-0.5, 0.5))
    ]
    axis = centres(size, identity.device)[None, None] * REACH
    across, down = bell(axis - place[0], place[2]), bell(axis - place[1], place[2])
    return torch.matmul((down * place[3].clamp(min=0.0)).transpose(1, 2), across)


def marks_full(side_x: Tensor) -> Tensor:
    """|x| over the whole width from |x| over the right half."""
    return torch.cat([side_x.flip(-1), side_x], -1)


def _paint(colour: Tensor, mask: Tensor, paint: Tensor) -> Tensor:
    return colour + (paint - colour) * mask[:, None]


def _hairs(identity: Identity, marks: Marks, noises: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Brow and beard cover, [B, H, W]."""
    s, look = identity.shape, identity.look
    blotch, pores, grain = noises
    strokes = torch.sin(marks.x * 170.0 + (marks.y - s.brow_y) * 110.0 + 4.0 * torch.sin(marks.x * 37.0))
    brows = _mirror(marks.brows() * (0.84 + 0.07 * strokes)) * (0.94 + 0.16 * grain + 0.06 * pores).clamp(0.0, 1.1)
    cheek = s.mouth_y - 0.16 - 0.55 * (marks.x - 0.25).clamp(min=0.0) ** 1.2
    low = smoothstep((marks.y - cheek) / 0.20 + 0.25) * smoothstep(
        (marks.x - 0.06 + (marks.y - s.mouth_y + 0.1).clamp(min=0) * 3.0) / 0.08 + 0.7
    )
    low = _mirror(low) * (0.90 + 0.13 * grain + 0.06 * blotch + 0.05 * pores).clamp(0.0, 1.15)
    return brows.clamp(max=1.0), low * (0.80 * look.beard + 0.26 * look.stubble).clamp(max=0.88)


def paint_skin(identity: Identity, size: int) -> Tensor:
    """Skin texture.

    Args:
        identity: batch of faces.
        size: even number of texels on a side of the head square.

    Returns:
        float32 [B, 4, size, size]: RGB in 0..1 and the cover of the outline.
    """
    look = identity.look
    axis = centres(size, identity.device) * REACH
    soft = 2.0 * REACH / size
    marks = Marks(identity, axis[None, None, size // 2 :], axis[None, :, None], soft)
    noises = _noises(identity, size)
    colour = _albedo(identity, marks, noises)
    brows, beard = _hairs(identity, marks, noises)
    upper, lower = (_mirror(lip) for lip in marks.lips())
    colour = _paint(colour, beard, look.hair * 0.8)
    colour = _paint(colour, (0.82 * upper + 0.78 * lower).clamp(max=1.0), look.lip * (1.0 + 0.03 * noises[2][:, None]))
    grain = noises[2] * look.micro * 0.035
    diffuse, shine = light(identity, axis, axis, (grain, grain.roll(1, -1)))
    dark = (marks.hollows() + marks.folds() + marks.wrinkles()).clamp(max=0.75)
    dark = 1.0 - (1.0 - dark) * (1.0 - marks.nose_shade()) * (1.0 - 0.80 * marks.lip_line())
    colour = colour * (diffuse[:, None] * look.light_colour)
    deep = 1.0 - _mirror(dark)[:, None] * torch.tensor([0.88, 1.0, 1.03], device=axis.device)[None, :, None, None]
    colour = colour * deep.clamp(min=0.0)
    gloss = shine * look.gloss + 0.10 * lower * shine
    colour = colour + gloss[:, None] * look.light_colour * (1.0 - beard)[:, None]
    colour = _paint(colour, brows * 0.9, look.brow * diffuse[:, None].clamp(0.4, 1.0))
    lash, low_lash = marks.lashes()
    lash_colour = look.brow * 0.5
    colour = _paint(colour, _mirror(lash * (0.45 + 0.55 * look.lashes)) * 0.92, lash_colour)
    colour = _paint(colour, _mirror(low_lash) * 0.30 * look.lashes, lash_colour)
    ear_x, ear_y = (marks.x - identity.shape.width - 0.02) / 0.085, (marks.y - identity.shape.eye_y - 0.13) / 0.20
    ear = (1.0 - torch.sqrt(ear_x * ear_x + ear_y * ear_y + 1e-6)) * 0.085
    cover = torch.maximum(outline_depth(identity.shape, marks.x, marks.y), ear)
    return torch.cat([colour.clamp(0.0, 1.0), _mirror(smoothstep(cover / (1.5 * soft) + 0.5))[:, None]], 1)
