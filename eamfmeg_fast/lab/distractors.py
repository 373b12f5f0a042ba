"""What moves in a picture without being the face: things behind the head, and a hand or a cable before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eamfmeg_fast.lab.noise import smoothstep
from eamfmeg_fast.lab.scene import frame_axes
from eamfmeg_fast.lab.seeds import Draw

Tensor = torch.Tensor


@dataclass(frozen=True)
class Thing:
    """A bar with round ends in each row, frame coordinates; [B, 1, 1], the colour [B, 3, 1, 1].

    shown: 1 where it is there. x, y, angle: its end and direction. length and radius: 0 length is a disc.
    """

    shown: Tensor
    x: Tensor
    y: Tensor
    angle: Tensor
    length: Tensor
    radius: Tensor
    stripes: Tensor
    colour: Tensor

    def moved(self, draw: Draw, most: float) -> Thing:
        """The same thing a moment later; now and then it stays."""
        go = draw.chance(0.85) * most
        return Thing(
            self.shown, self.x + go * draw.uniform(-1.0, 1.0), self.y + go * draw.uniform(-1.0, 1.0),
            self.angle + go * draw.uniform(-1.0, 1.0), self.length, self.radius, self.stripes, self.colour,
        )  # fmt: skip

    def over(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Draw it over a picture [B, 3, H, W]; also its cover, [B, H, W]."""
        size = picture.shape[-1]
        x, y = frame_axes(size, picture.device)
        x, y = x - self.x, y - self.y
        across, down = torch.cos(self.angle), torch.sin(self.angle)
        along = x * across + y * down
        away = torch.hypot(along - along.clamp(min=0.0).minimum(self.length), y * across - x * down)
        cover = smoothstep((self.radius - away) * (0.4 * size) + 0.5) * self.shown
        round_shade = 1.0 - 0.35 * (away / self.radius).clamp(max=1.0) ** 2
        tone = round_shade * (1.0 + self.stripes * torch.sin(along * 40.0))
        colour = (self.colour * tone[:, None]).clamp(0.0, 1.0)
        return picture + (colour - picture) * cover[:, None], cover


@dataclass(frozen=True)
class Distractors:
    """What is behind the head and what is before it in one frame."""

    behind: Thing
    before: Thing


def _behind(draw: Draw) -> Thing:
    return Thing(
        shown=draw.chance(0.3), x=draw.uniform(-1.1, 1.1), y=draw.uniform(-1.1, 0.9), angle=draw.uniform(-3.14, 3.14),
        length=draw.chance(0.5) * draw.uniform(0.3, 2.0), radius=draw.uniform(0.05, 0.4),
        stripes=draw.chance(0.5) * draw.uniform(0.1, 0.6), colour=draw.colour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    )  # fmt: skip


def _before(draw: Draw) -> Thing:
    """It comes in from beyond a side or the bottom and reaches over the edge of the face at most."""
    side = torch.where(draw.chance(0.5) > 0.5, 1.0, -1.0)
    reach = draw.uniform(0.35, 0.8)
    return Thing(
        shown=draw.chance(0.12), x=side * (1.0 - 0.5 * reach), y=draw.uniform(-0.2, 1.0),
        angle=torch.where(side > 0, 0.0, 3.14159) + draw.uniform(-0.6, 0.6), length=0.0 * reach + 2.5,
        radius=draw.uniform(0.02, 0.20), stripes=draw.chance(0.2) * draw.uniform(0.1, 0.4),
        colour=draw.palette((0.9, 0.72, 0.62), (0.62, 0.44, 0.33), (0.3, 0.2, 0.15), (0.1, 0.1, 0.1), (0.7, 0.7, 0.72)),
    )  # fmt: skip


def draw_distractors(seeds: list[int], device: torch.device | str) -> tuple[Distractors, Distractors] | None:
    """Distractors of both frames of each pair, or None where no pair has any."""
    draw = Draw(seeds, 0xD157, device, width=48)
    behind, before = _behind(draw), _before(draw)
    if not bool((behind.shown + before.shown).any()):
        return None
    first = Distractors(behind, before)
    return first, Distractors(behind.moved(draw, 0.25), before.moved(draw, 0.15))
