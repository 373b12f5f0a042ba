"""Identities: every number that makes one face look like itself, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eamfmeg_fast.lab.seeds import Draw

Tensor = torch.Tensor


@dataclass(frozen=True)
class Shape:
    """Geometry in head units (chin near y = 1, skull top near y = -1.05, x to image right): float32 [B, 1, 1]."""

    width: Tensor
    taper: Tensor
    jaw: Tensor
    chin: Tensor
    hairline: Tensor
    eye_x: Tensor
    eye_y: Tensor
    eye_width: Tensor
    lid_upper: Tensor
    lid_lower: Tensor
    lid_skew: Tensor
    cant: Tensor
    iris: Tensor
    gaze_x: Tensor
    gaze_y: Tensor
    brow_y: Tensor
    brow_inner: Tensor
    brow_outer: Tensor
    brow_thick: Tensor
    brow_arch: Tensor
    brow_tilt: Tensor
    nose_width: Tensor
    nose_y: Tensor
    nose_bridge: Tensor
    nose_height: Tensor
    mouth_width: Tensor
    mouth_y: Tensor
    mouth_curve: Tensor
    lip_upper: Tensor
    lip_lower: Tensor


@dataclass(frozen=True)
class Look:
    """Colours float32 [B, 3, 1, 1] in display RGB; strengths float32 [B, 1, 1]."""

    skin: Tensor
    lip: Tensor
    hair: Tensor
    brow: Tensor
    iris: Tensor
    cloth: Tensor
    wall: Tensor
    wall_other: Tensor
    light_colour: Tensor
    melanin: Tensor
    age: Tensor
    micro: Tensor
    freckles: Tensor
    redness: Tensor
    gloss: Tensor
    crease: Tensor
    lashes: Tensor
    beard: Tensor
    stubble: Tensor
    glasses: Tensor
    relief: Tensor
    light_x: Tensor
    light_y: Tensor
    ambient: Tensor
    wall_texture: Tensor
    cloth_texture: Tensor
    sclera: Tensor
    rim: Tensor
    rim_width: Tensor
    lens_height: Tensor
    lens_round: Tensor


@dataclass(frozen=True)
class Hair:
    """Hair style: float32 [B, 1, 1]; 0/1 where it says so."""

    bald: Tensor
    long: Tensor
    fringe: Tensor
    volume: Tensor
    top: Tensor
    part_x: Tensor
    sweep: Tensor
    rough: Tensor
    temple: Tensor
    contrast: Tensor


@dataclass(frozen=True)
class Identity:
    """A batch of identities; `seeds` are the numbers they came from."""

    seeds: list[int]
    shape: Shape
    look: Look
    hair: Hair

    @property
    def device(self) -> torch.device:
        """Where the numbers live."""
        return self.shape.width.device


def _shape(draw: Draw) -> Shape:
    eye_y = draw.uniform(-0.10, -0.03)
    brow_y = eye_y - draw.uniform(0.145, 0.20)
    nose_y = draw.uniform(0.31, 0.39)
    mouth_y = nose_y + draw.uniform(0.20, 0.265)
    return Shape(
        width=draw.middle(0.62, 0.74), taper=draw.middle(0.16, 0.46), jaw=draw.middle(2.2, 3.5),
        chin=mouth_y + draw.uniform(0.38, 0.46), hairline=draw.uniform(-0.74, -0.58),
        eye_x=draw.uniform(0.275, 0.325), eye_y=eye_y, eye_width=draw.uniform(0.125, 0.155),
        lid_upper=draw.middle(0.028, 0.076), lid_lower=draw.uniform(0.016, 0.036),
        lid_skew=draw.uniform(-0.25, 0.15),
        cant=draw.uniform(-0.008, 0.026), iris=draw.uniform(0.056, 0.066),
        gaze_x=draw.middle(-0.025, 0.025), gaze_y=draw.middle(-0.008, 0.010),
        brow_y=brow_y, brow_inner=draw.uniform(0.10, 0.16), brow_outer=draw.uniform(0.44, 0.52),
        brow_thick=draw.uniform(0.018, 0.042), brow_arch=draw.uniform(0.005, 0.055),
        brow_tilt=draw.uniform(-0.03, 0.035),
        nose_width=draw.middle(0.125, 0.19), nose_y=nose_y, nose_bridge=draw.uniform(0.055, 0.09),
        nose_height=draw.uniform(0.8, 1.3),
        mouth_width=draw.uniform(0.21, 0.285), mouth_y=mouth_y, mouth_curve=draw.uniform(-0.022, 0.018),
        lip_upper=draw.middle(0.036, 0.086), lip_lower=draw.middle(0.055, 0.105),
    )  # fmt: skip


def _hair_colour(draw: Draw, melanin: Tensor) -> Tensor:
    dark = draw.palette((0.05, 0.04, 0.04), (0.11, 0.08, 0.07), (0.17, 0.11, 0.08))
    any_colour = draw.palette(
        (0.10, 0.07, 0.06),
        (0.30, 0.19, 0.12),
        (0.52, 0.36, 0.20),
        (0.76, 0.62, 0.40),
        (0.50, 0.24, 0.13),
        (0.66, 0.65, 0.63),
    )
    pick_dark = (draw.unit() < 0.3 + 0.7 * melanin)[..., None].float()
    return dark * pick_dark + any_colour * (1 - pick_dark)


def _wall(draw: Draw) -> Tensor:
    """Mostly greyish, now and then strong."""
    colour, grey = draw.colour((0.05, 0.05, 0.05), (0.95, 0.95, 0.95)), draw.uniform(0.02, 0.95)[..., None]
    return grey + (colour - grey) * (0.12 + 0.6 * draw.unit() ** 3)[..., None]


def _iris(draw: Draw, melanin: Tensor) -> Tensor:
    dark = draw.palette((0.13, 0.08, 0.05), (0.30, 0.18, 0.10))
    light = draw.palette((0.20, 0.12, 0.07), (0.38, 0.28, 0.15), (0.36, 0.42, 0.28), (0.33, 0.46, 0.60))
    return torch.where(melanin[..., None] > 0.45, dark, light)


def _lamp(draw: Draw, extra: Draw) -> Tensor:
    """Daylight or bulbs; one in seven is strongly coloured."""
    usual = draw.palette((1.06, 1.0, 0.90), (1.0, 1.0, 1.0), (0.95, 1.0, 1.07))
    lamp, coloured = extra.colour((0.80, 0.80, 0.75), (1.12, 1.08, 1.15)), extra.chance(0.15)
    return usual + (lamp - usual) * coloured[..., None]


def _look(draw: Draw, seeds: list[int]) -> Look:
    melanin = draw.unit()
    place = melanin[:, 0, 0] * 4
    tones = torch.tensor(
        [(0.94, 0.79, 0.71), (0.88, 0.70, 0.58), (0.76, 0.56, 0.43), (0.53, 0.36, 0.26), (0.31, 0.20, 0.15)],
        device=melanin.device,
    )
    below = place.long().clamp(max=3)
    part = (place - below)[:, None]
    skin = (tones[below] * (1 - part) + tones[below + 1] * part)[:, :, None, None]
    skin = skin * draw.colour((0.95, 0.96, 0.93), (1.05, 1.04, 1.07))
    lip_tint = draw.colour((0.86, 0.58, 0.58), (1.02, 0.80, 0.82))
    hair = _hair_colour(draw, melanin)
    old = draw.unit() ** 1.8
    man = draw.chance(0.5)
    # Drawn apart, so that faces stay as they were when more is drawn.
    extra = Draw(seeds, 0x1DE48, melanin.device, width=24)
    return Look(
        skin=skin, lip=skin * lip_tint, hair=hair,
        brow=(hair * 0.75).clamp(max=0.42) * draw.uniform(0.7, 1.0)[..., None],
        iris=_iris(draw, melanin),
        cloth=draw.palette((0.08, 0.08, 0.1), (0.75, 0.75, 0.74), (0.25, 0.3, 0.42), (0.5, 0.2, 0.2), (0.3, 0.4, 0.3)),
        wall=_wall(draw), wall_other=_wall(draw),
        light_colour=_lamp(draw, extra),
        melanin=melanin, age=old, micro=draw.uniform(0.5, 1.4), freckles=draw.chance(0.35) * draw.unit(),
        redness=draw.unit() * (1.1 - melanin), gloss=draw.uniform(0.0, 0.15),
        crease=draw.chance(0.7) * draw.uniform(0.3, 1.0), lashes=draw.uniform(0.35, 1.0),
        beard=man * draw.chance(0.38) * draw.uniform(0.4, 1.0),
        stubble=man * draw.uniform(0.0, 0.45), glasses=draw.chance(0.18), relief=draw.uniform(0.75, 1.25),
        light_x=draw.uniform(-1.0, 1.0), light_y=draw.uniform(-0.9, -0.05), ambient=draw.uniform(0.14, 0.55),
        wall_texture=draw.chance(0.6) * draw.unit(), cloth_texture=draw.unit() ** 2,
        sclera=extra.uniform(0.45, 1.0), rim=extra.palette((0.05, 0.05, 0.06), (0.16, 0.11, 0.08), (0.62, 0.60, 0.56)),
        rim_width=extra.uniform(0.004, 0.014),
        lens_height=extra.uniform(0.12, 0.18), lens_round=extra.uniform(2.0, 4.5),
    )  # fmt: skip


def _hair(draw: Draw) -> Hair:
    return Hair(
        bald=draw.chance(0.08), long=draw.chance(0.4), fringe=draw.chance(0.3) * draw.uniform(0.3, 1.0),
        volume=draw.uniform(0.04, 0.20), top=draw.uniform(0.05, 0.2), part_x=draw.uniform(-0.35, 0.35),
        sweep=draw.uniform(-0.25, 0.25), rough=draw.uniform(0.3, 1.2), temple=draw.uniform(0.0, 0.16),
        contrast=draw.uniform(0.25, 0.7),
    )  # fmt: skip


def draw_identity(seeds: list[int], device: torch.device | str = "cpu") -> Identity:
    """Identities of the given seeds; each looks the same whatever else is in the batch."""
    draw = Draw(seeds, 0x1DE47, device)
    return Identity(list(seeds), _shape(draw), _look(draw, seeds), _hair(draw))
