"""Frames from textures: colour, the layers seen, and the exact way back to another frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import grid_sample

from eamfmeg_fast.lab.apertures import LID_REACH, LIP_REACH, eye_slit, mouth_slit
from eamfmeg_fast.lab.creases import creased, paint_creases
from eamfmeg_fast.lab.distractors import Distractors
from eamfmeg_fast.lab.hair import paint_overlay
from eamfmeg_fast.lab.identity import Identity
from eamfmeg_fast.lab.inner import EYES_END, paint_inner
from eamfmeg_fast.lab.motion import REACH, Motion, sample_field, to_moved
from eamfmeg_fast.lab.noise import bell
from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.scene import frame_axes, paint_scene
from eamfmeg_fast.lab.skin import paint_skin

Tensor = torch.Tensor


@dataclass(frozen=True)
class Textures:
    """Layers of a batch of people.

    Skin and overlay RGBA and inner RGB over the head square, scene RGB over the frame, creases over half the square.
    """

    skin: Tensor
    creases: Tensor
    inner: Tensor
    overlay: Tensor
    scene: Tensor


@dataclass(frozen=True)
class Rendered:
    """One frame per row.

    colour: float32 [B, 3, H, W], linear in nothing but itself: display RGB in 0..1, without noise.
    layers: float32 [B, 4, H, W], cover of head, of slits (eyeballs, mouth), of overlay (hair, glasses), of distractors.
    head: head coordinates of every pixel, two [B, H, W].
    back: offset from there to the neutral skin, two [B, H, W].
    motion: of the expression it was drawn with.
    """

    colour: Tensor
    layers: Tensor
    head: tuple[Tensor, Tensor]
    back: tuple[Tensor, Tensor]
    motion: Motion


def paint(identity: Identity, rest: Pose, size: int) -> Textures:
    """Paint all layers for frames of `size` pixels, the shoulders placed for the pose `rest`."""
    texels = min(max(2 * round(size * 0.625), 96), 512)
    skin = paint_skin(identity, texels)
    overlay, shade = paint_overlay(identity, texels)
    skin = torch.cat([skin[:, :3] * (1.0 - shade[:, None]), skin[:, 3:]], 1)
    return Textures(
        skin,
        paint_creases(identity, texels),
        paint_inner(identity, texels),
        overlay,
        paint_scene(identity, rest.straight(), size),
    )


def _look_up(texture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    points = torch.stack([x, y], -1) * (1.0 / REACH)
    return grid_sample(texture.expand(x.shape[0], -1, -1, -1), points, align_corners=False, padding_mode="border")


def render(
    identity: Identity, textures: Textures, motion: Motion, pose: Pose, size: int, things: Distractors | None = None
) -> Rendered:
    """Draw one frame per pose and expression.

    Args:
        identity: one identity, or as many as there are poses.
        textures: its layers.
        motion: fields of the expression.
        pose: where the head is.
        size: pixels on a side.
        things: what else is in the picture.

    Convention: pixel i lies at (2 i + 1) / size - 1 in [-1, 1].
    """
    frame_x, frame_y = frame_axes(size, identity.device)
    x, y = pose.to_head(frame_x, frame_y)
    dx, dy = sample_field(motion.back, x, y)
    skin_x, skin_y = x + dx, y + dy
    pixel = 2.0 / (size * pose.scale)
    eyes = eye_slit(identity.shape, skin_x, motion.slits)
    mouth = mouth_slit(identity.shape, skin_x, motion.slits)
    open_eyes, open_mouth = eyes.cover(skin_y, pixel), mouth.cover(skin_y, pixel)
    slit = eyes.backward(skin_y, LID_REACH) + mouth.backward(skin_y, LIP_REACH)
    skin = _look_up(creased(textures.skin, textures.creases, motion.intensity), skin_x, skin_y + slit)
    # Lids and lips are far apart: below the lids nothing looks anywhere.
    look_x, look_y = ((y < EYES_END) * motion.gaze[:, k, None, None] for k in (0, 1))
    inner = _look_up(textures.inner, x - look_x, y - look_y)
    lid = (skin_y - eyes.upper - eyes.upper_moved).clamp(min=0.0) / 0.035
    shade = 1.0 - 0.52 * open_eyes * bell(lid, 1.0)
    opened = torch.maximum(open_eyes, open_mouth)
    face = skin[:, :3] + (inner * shade[:, None] - skin[:, :3]) * opened[:, None]
    overlay = _look_up(textures.overlay, x, y)
    colour, cover = _composed(textures.scene, face, skin[:, 3:], overlay, things)
    layers = torch.stack([torch.maximum(skin[:, 3], overlay[:, 3]), opened, overlay[:, 3], cover], 1)
    return Rendered(colour, layers, (x, y), (dx, dy + slit), motion)


def _composed(
    scene: Tensor, face: Tensor, head: Tensor, overlay: Tensor, things: Distractors | None
) -> tuple[Tensor, Tensor]:
    """Scene, head and overlay over one another, and the distractors between them; colour and cover of these."""
    hidden = 1.0 - torch.maximum(head[:, 0], overlay[:, 3])
    cover = torch.zeros_like(hidden)
    if things is not None:
        scene, cover = things.behind.over(scene)
    colour = scene + (face - scene) * head
    colour = colour + (overlay[:, :3] - colour) * overlay[:, 3:]
    cover = cover * hidden
    if things is not None:
        colour, before = things.before.over(colour)
        cover = torch.maximum(cover, before)
    return colour, cover


def displacement(identity: Identity, second: Rendered, first: tuple[Motion, Pose], pose: Pose) -> Tensor:
    """Way from every pixel of a frame to the same point in another frame, px, float32 [B, H, W, 2].

    Args:
        identity: as rendered.
        second: the frame that is asked about.
        first: fields and pose of the frame that answers.
        pose: pose of `second`.

    Convention: second(p) = first(p + displacement[p]), (x, y) in pixels.
    """
    x, y = second.head
    dx, dy = second.back
    motion, first_pose = first
    more_x, more_y = to_moved(identity, motion, x + dx, y + dy)
    # The inverse of a field is only close; where both frames move alike it is not asked.
    alike = second.motion.same_skin(motion)[:, None, None]
    dx, dy = (dx + more_x).masked_fill(alike, 0.0), (dy + more_y).masked_fill(alike, 0.0)
    covered = second.layers[:, 2] > 0.5
    rigid = (second.layers[:, 1] > 0.5) | covered
    dx, dy = dx.masked_fill(rigid, 0.0), dy.masked_fill(rigid, 0.0)
    turned = (motion.gaze - second.motion.gaze)[:, :, None, None]
    eyes = rigid & ~covered & (y < EYES_END)
    dx, dy = torch.where(eyes, turned[:, 0], dx), torch.where(eyes, turned[:, 1], dy)
    local, moved = first_pose.change((x, y), dx, dy), first_pose.difference(pose, x, y)
    size = x.shape[-1]
    way = torch.stack([local[0] + moved[0], local[1] + moved[1]], -1) * (0.5 * size)
    return way.masked_fill((second.layers[:, 0] <= 0.5)[..., None], 0.0)


def visible(first: Tensor, second: Tensor, way: Tensor) -> Tensor:
    """Where what is seen in the second frame was seen in the first.

    Args:
        first, second: layers of the two frames, [B, 4, H, W].
        way: displacement_px from second to first, [B, H, W, 2].

    Returns:
        bool [B, H, W]; False where a pixel mixes layers, where the layer differs, where a distractor is, and where the
        way leaves the frame.
    """
    size = second.shape[-1]
    x, y = frame_axes(size, second.device)
    points = torch.stack([x, y], -1) + way * (2.0 / size)
    found = grid_sample(first.expand(way.shape[0], -1, -1, -1), points, align_corners=False, padding_mode="border")
    same = ((found - second).abs() < 0.25).all(1)
    pure = ((second - 0.5).abs() > 0.35).all(1) & ((found - 0.5).abs() > 0.35).all(1)
    inside = (points.abs() <= 1.0 - 1.0 / size).all(-1)
    free = (found[:, 3] < 0.01) & (second[:, 3] < 0.01)
    return same & pure & inside & free
