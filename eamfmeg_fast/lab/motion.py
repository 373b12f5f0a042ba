"""Motion of one face: muscles (a smooth field and its inverse), slits, gaze. README.md derives it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample

from eamfmeg_fast.lab.action_units import MuscleSet
from eamfmeg_fast.lab.anatomy import landmark_places
from eamfmeg_fast.lab.apertures import LID_REACH, LIP_REACH, OPENINGS, Opening, eye_slit, mouth_slit, opening
from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.noise import bell, centres
from eamfmeg_fast.lab.pose import Pose

Tensor = torch.Tensor

REACH = 1.32
"""Half side, in head units, of the square on which fields and textures are kept."""
FIELD = 160
_STEPS = 30
_CLOSE = 3e-5
_STEEPEST = 0.6
_NOSE = 2.0


@dataclass(frozen=True)
class Expression:
    """What the face does.

    intensity: [B, A, 2] (left, right). yaw, pitch: [B], how far the nose stands out to the side and down (`nose_turn`).
    gaze: [B, 2], how far the eyeballs are turned from where the identity looks, head units; None is not at all.
    """

    intensity: Tensor
    yaw: Tensor
    pitch: Tensor
    gaze: Tensor | None = None


@dataclass(frozen=True)
class Motion:
    """One expression: `pull` (forward field) and `back` (its inverse), [B, 2, FIELD, FIELD] in head units; slits.

    gaze [B, 2] in head units; intensity [B, A, 2], which the creases of the skin follow.
    """

    pull: Tensor
    back: Tensor
    slits: Opening
    gaze: Tensor
    intensity: Tensor

    def same_skin(self, other: Motion) -> Tensor:
        """Rows in which both move the skin alike, bool [B]."""
        pairs = [(self.pull, other.pull)] + [(getattr(self.slits, k), getattr(other.slits, k)) for k in OPENINGS]
        return torch.stack([(a == b).flatten(1).all(1) for a, b in pairs]).all(0)


def nose_turn(pose: Pose) -> tuple[Tensor, Tensor]:
    """Yaw and pitch of an expression, [B] each: the nose stands before the round head and shifts when it turns."""
    return _NOSE * torch.sin(pose.yaw)[:, 0, 0], _NOSE * torch.sin(pose.pitch)[:, 0, 0]


def sample_field(field: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear look-up of a [B, 2, n, n] field at head points x, y [B, h, w]."""
    x, y = torch.broadcast_tensors(x, y)
    batch = max(field.shape[0], x.shape[0])
    points = torch.stack([x, y], -1) / REACH
    field = field.expand(batch, -1, -1, -1)
    found = grid_sample(field, points.expand(batch, -1, -1, -1), align_corners=False, padding_mode="border")
    return found[:, 0], found[:, 1]


def _weights(muscles: MuscleSet, expression: Expression) -> Tensor:
    intensity = expression.intensity
    turns = torch.stack([expression.yaw, expression.pitch], 1)[:, :, None].expand(-1, -1, 2)
    table = torch.cat([intensity, turns.to(intensity)], 1)
    table = torch.cat([table, table.mean(2, keepdim=True)], 2)
    return table[:, muscles.columns, muscles.sides]


def _pull_field(muscles: MuscleSet, weights: Tensor) -> Tensor:
    axis = centres(FIELD, weights.device) * REACH
    reach = (axis[:, None, None, None] - muscles.anchors) / muscles.spreads
    bells = bell(reach, 2.0**0.5)
    across, down = bells[..., 0].permute(1, 0, 2), bells[..., 1].permute(1, 0, 2)
    parts = [torch.matmul(down * (weights * muscles.pulls[:, k])[:, None], across.transpose(1, 2)) for k in (0, 1)]
    return torch.stack(parts, 1)


def steepness(muscles: MuscleSet, expression: Expression) -> Tensor:
    """Largest slope of the muscle field, [B]; below 1 the field can be inverted."""
    field = _pull_field(muscles, _weights(muscles, expression))
    step = 2.0 * REACH / FIELD
    return torch.stack([field.diff(dim=k).abs().flatten(1).amax(1) for k in (2, 3)]).amax(0) / step


def soften(muscles: MuscleSet, expression: Expression) -> Expression:
    """Scale intensities down where the field would otherwise fold; most expressions come back as they are."""
    factor = (_STEEPEST / steepness(muscles, expression).clamp(min=1e-6)).clamp(max=1.0)
    intensity = expression.intensity * factor[:, None, None]
    return Expression(intensity, expression.yaw * factor, expression.pitch * factor, expression.gaze)


def build_motion(muscles: MuscleSet, expression: Expression) -> Motion:
    """Forward field of an expression and its inverse (fixed-point iteration) on the head square."""
    pull = _pull_field(muscles, _weights(muscles, expression))
    axis = centres(FIELD, pull.device) * REACH
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y])
    back, change = -pull, pull
    for _ in range(_STEPS):
        moving = (change.abs().amax((1, 2, 3)) > _CLOSE)[:, None, None, None]
        if not bool(moving.any()):
            break
        dx, dy = sample_field(pull, grid[0] + back[:, 0], grid[1] + back[:, 1])
        change = (back + torch.stack([dx, dy], 1)) * moving
        back = back - change
    gaze = expression.gaze
    if gaze is None:
        gaze = torch.zeros(pull.shape[0], 2, device=pull.device)
    return Motion(pull, back, opening(expression.intensity, gaze), gaze, expression.intensity)


def to_moved(identity: Identity, motion: Motion, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Offset of a neutral skin point when the expression is put on: head units, same shape as x."""
    eye = eye_slit(identity.shape, x, motion.slits).forward(y, LID_REACH)
    slit = eye + mouth_slit(identity.shape, x, motion.slits).forward(y, LIP_REACH)
    dx, dy = sample_field(motion.pull, x, y + slit)
    return dx, dy + slit


def landmarks_px(identity: Identity, motion: Motion, pose: Pose, size: int) -> Tensor:
    """Landmarks of a frame, float32 [B, L, 2] (x, y).

    Convention: pixels, 0 is the centre of the first pixel.
    """
    places = landmark_places(identity)[:, :, None]
    x, y = places[..., 0].transpose(1, 2), places[..., 1].transpose(1, 2)
    dx, dy = to_moved(identity, motion, x, y)
    frame_x, frame_y = pose.to_frame(x + dx, y + dy)
    return (torch.stack([frame_x, frame_y], -1)[:, 0] + 1.0) * (0.5 * size) - 0.5
