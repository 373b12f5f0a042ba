"""Where the head is and how it is turned: exact in both directions, so that its motion is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Tensor = torch.Tensor

ROUND_X, ROUND_Y = 0.60, 0.30
"""Depth of the head behind the nose bridge: ROUND_X x^2 + ROUND_Y y^2, head units."""
FIELDS = ("scale", "roll", "shift_x", "shift_y", "yaw", "pitch")


def _root(linear: Tensor, square: Tensor, level: Tensor) -> Tensor:
    """The solution z of linear z - square z^2 = level that lies on the near side of the head."""
    return 2.0 * level / (linear + (linear * linear - 4.0 * square * level).clamp(min=0.02).sqrt())


@dataclass(frozen=True)
class Pose:
    """Head units to frame coordinates: turn by yaw and pitch, then n = R(roll) scale q + shift; all [B, 1, 1].

    A point at depth d behind the nose bridge goes to x' = cos(yaw) x - sin(yaw) d, and after that in the same way to y'
    by the pitch, d being quadratic. Each of the two steps leaves one coordinate as it is, so each has a closed inverse.
    Angles in radians; positive yaw takes the nose to image right, positive pitch takes it down.
    """

    scale: Tensor
    roll: Tensor
    shift_x: Tensor
    shift_y: Tensor
    yaw: Tensor
    pitch: Tensor

    @property
    def turn(self) -> tuple[Tensor, Tensor]:
        """scale cos(roll) and scale sin(roll)."""
        return self.scale * torch.cos(self.roll), self.scale * torch.sin(self.roll)

    def straight(self) -> Pose:
        """The same place without yaw and pitch."""
        return Pose(self.scale, self.roll, self.shift_x, self.shift_y, 0.0 * self.yaw, 0.0 * self.pitch)

    def rows(self, first: int, last: int) -> Pose:
        """Some rows of a batch of poses."""
        return Pose(*(getattr(self, name)[first:last] for name in FIELDS))

    def _turned(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Head units after yaw and pitch."""
        across = torch.cos(self.yaw) * x - torch.sin(self.yaw) * (ROUND_X * x * x + ROUND_Y * y * y)
        down = torch.cos(self.pitch) * y - torch.sin(self.pitch) * (ROUND_X * across * across + ROUND_Y * y * y)
        return across, down

    def to_frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Head units to frame coordinates."""
        a, b = self.turn
        across, down = self._turned(x, y)
        return a * across - b * down + self.shift_x, b * across + a * down + self.shift_y

    def to_head(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Frame coordinates to head units, the exact inverse of `to_frame` on the head."""
        a, b = self.turn
        size = a * a + b * b
        x, y = x - self.shift_x, y - self.shift_y
        across, down = (a * x + b * y) / size, (a * y - b * x) / size
        tip, side = torch.sin(self.pitch), torch.sin(self.yaw)
        y = _root(torch.cos(self.pitch), ROUND_Y * tip, down + ROUND_X * tip * across * across)
        x = _root(torch.cos(self.yaw), ROUND_X * side, across + ROUND_Y * side * y * y)
        return x, y

    def difference(self, other: Pose, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """self.to_frame(q) - other.to_frame(q) at head point q, exactly zero when the poses are equal."""
        (a, b), (c, d) = self.turn, other.turn
        across, down = self._turned(x, y)
        depth = ROUND_X * x * x + ROUND_Y * y * y
        side = torch.sin(self.yaw) - torch.sin(other.yaw)
        more_x = (torch.cos(self.yaw) - torch.cos(other.yaw)) * x - side * depth
        tip = torch.sin(self.pitch) - torch.sin(other.pitch)
        more_y = (torch.cos(self.pitch) - torch.cos(other.pitch)) * y
        more_y = more_y - tip * (ROUND_X * across * across + ROUND_Y * y * y)
        more_y = more_y - torch.sin(other.pitch) * ROUND_X * more_x * (2.0 * across - more_x)
        return (
            (a - c) * across + c * more_x - (b - d) * down - d * more_y + (self.shift_x - other.shift_x),
            (b - d) * across + d * more_x + (a - c) * down + c * more_y + (self.shift_y - other.shift_y),
        )

    def change(self, place: tuple[Tensor, Tensor], dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
        """to_frame(q + d) - to_frame(q) at head point q = `place`, exactly zero when d is."""
        a, b = self.turn
        x, y = place
        across, _ = self._turned(x, y)
        bow = ROUND_Y * dy * (2.0 * y + dy)
        more_x = torch.cos(self.yaw) * dx - torch.sin(self.yaw) * (ROUND_X * dx * (2.0 * x + dx) + bow)
        more_y = torch.cos(self.pitch) * dy
        more_y = more_y - torch.sin(self.pitch) * (ROUND_X * more_x * (2.0 * across + more_x) + bow)
        return a * more_x - b * more_y, b * more_x + a * more_y
