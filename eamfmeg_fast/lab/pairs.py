"""Pairs of frames with exact motion: the feed of the training loop."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.action_units import ACTION_UNITS, muscle_set
from eamfmeg_fast.lab.camera import draw_camera, retouch, shoot
from eamfmeg_fast.lab.edges import edge_map
from eamfmeg_fast.lab.framing import draw_framing
from eamfmeg_fast.lab.identity import draw_identity
from eamfmeg_fast.lab.motion import Expression, Pose, build_motion, landmarks_px, soften
from eamfmeg_fast.lab.render import displacement, paint, render, visible
from eamfmeg_fast.lab.seeds import Draw, identity_seeds, mix

Tensor = torch.Tensor
MOTIONS = ("micro", "mixed")
_CHUNK = 2


@dataclass(frozen=True)
class LabPairs:
    """Two frames of each of B people.

    first, second: float32 [B, 3, H, W] in [0, 1].
    displacement_px: float32 [B, H, W, 2], second to first: second(p) = first(p + displacement_px[p]), (x, y) px.
    valid: bool [B, H, W], where that holds.
    first_edges, second_edges: float32 [B, 64, 64] in [0, 1].
    first_landmarks_px, second_landmarks_px: float32 [B, L, 2] in the order of LANDMARKS.
    """

    first: Tensor
    second: Tensor
    displacement_px: Tensor
    valid: Tensor
    first_edges: Tensor
    second_edges: Tensor
    first_landmarks_px: Tensor
    second_landmarks_px: Tensor


def _moved_pose(pose: Pose, draw: Draw, big: Tensor, still: float = 0.0) -> Pose:
    """The pose a moment later: a drift below 1.5 px at 256, or a real movement where `big` is 1."""
    moving = draw.chance(1.0 - still)
    drift, turn = 0.010 * moving, 0.006 * moving
    return Pose(
        scale=pose.scale * (1.0 + big * draw.middle(-0.06, 0.06) + (1.0 - big) * moving * draw.middle(-0.005, 0.005)),
        roll=pose.roll + big * draw.middle(-0.14, 0.14) + (1.0 - big) * turn * draw.uniform(-1.0, 1.0),
        shift_x=pose.shift_x + big * draw.middle(-0.12, 0.12) + (1.0 - big) * drift * draw.uniform(-1.0, 1.0),
        shift_y=pose.shift_y + big * draw.middle(-0.12, 0.12) + (1.0 - big) * drift * draw.uniform(-1.0, 1.0),
        bend=pose.bend + big * draw.middle(-0.05, 0.05) + (1.0 - big) * moving * draw.uniform(-0.002, 0.002),
    )


def _expression(draw: Draw, big: Tensor, active: Tensor) -> Expression:
    """One to four random action units, mostly even on both sides; `active` 0 keeps the face neutral."""
    count = (1.0 + 4.0 * draw.unit()).floor()
    rank = torch.cat([draw.unit() for _ in ACTION_UNITS], -1)[:, 0]
    order = rank.argsort(1).argsort(1)
    strength = torch.cat([draw.unit() for _ in ACTION_UNITS], -1)[:, 0] * (1.0 + big[:, 0])
    chosen = strength * (order < count[:, 0]) * active[:, 0]
    uneven = draw.chance(0.3) * draw.uniform(-0.7, 0.7)
    sides = torch.cat([1.0 - uneven.clamp(min=0.0), 1.0 + uneven.clamp(max=0.0)], -1)
    yaw, pitch = (big * draw.uniform(-0.4, 0.4) + (1.0 - big) * draw.uniform(-0.01, 0.01) for _ in range(2))
    active_turn = active[:, 0, 0]
    return Expression(chosen[:, :, None] * sides, yaw[:, 0, 0] * active_turn, pitch[:, 0, 0] * active_turn)


def _pair(people: list[int], seeds: list[int], size: int, device: torch.device | str, motion: str) -> LabPairs:
    identity = draw_identity(people, device)
    muscles = muscle_set(identity)
    draw = Draw(seeds, 0xA1, device)
    big = draw.chance(0.5 if motion == "mixed" else 0.0)
    rest = draw_framing(draw)
    expressive = draw.chance(0.35)
    expressions = [soften(muscles, _expression(draw, big, on)) for on in (expressive, torch.ones_like(big))]
    poses = [rest, _moved_pose(rest, draw, big, still=0.25)]
    motions = [build_motion(muscles, expression) for expression in expressions]
    textures = paint(identity, rest, size)
    drawn = [render(identity, textures, field, pose, size) for field, pose in zip(motions, poses, strict=True)]
    way = displacement(identity, drawn[1], (motions[0], poses[0]), poses[1])
    camera = draw_camera(seeds, 0xCA, device)
    cameras = (camera, retouch(camera, seeds, 0xCB, device))
    shots = [shoot(frame.colour, cameras[k], seeds, 0xCC + k) for k, frame in enumerate(drawn)]
    first_edges, level = edge_map(drawn[0].colour)
    second_edges, _ = edge_map(drawn[1].colour, level)
    places = [landmarks_px(identity, motions[k], poses[k], size) for k in (0, 1)]
    valid = visible(drawn[0].layers, drawn[1].layers, way)
    return LabPairs(shots[0], shots[1], way, valid, first_edges, second_edges, places[0], places[1])


def sample_pairs(
    batch: int, *, size: int, seed: int, split: str = "train", device: torch.device | str = "cpu", motion: str = "micro"
) -> LabPairs:
    """Two frames of each of `batch` people who never lived.

    Args:
        batch: how many people.
        size: pixels on a side.
        seed: number of the batch; the same number gives the same pairs (the same bits on the CPU).
        split: "train" or "held_out"; no identity is in both.
        device: where the tensors are made.
        motion: "micro" (micro-expressions with a drift of the head) or "mixed" (half of them with large movements).

    Raises:
        OptionError: an argument is out of range.
    """
    if batch < 1 or size < 16:
        raise OptionError(f"batch={batch}, size={size}", "batch of at least 1 and size of at least 16", "Ask for more.")
    if motion not in MOTIONS:
        raise OptionError(f"motion={motion!r}", " or ".join(map(repr, MOTIONS)), "Choose one of the two.")
    people = identity_seeds(seed, batch, split)
    seeds = [mix(seed, index, 0x2D) for index in range(batch)]
    step = _CHUNK if torch.device(device).type == "cpu" else batch
    with torch.no_grad():
        parts = [_pair(people[k : k + step], seeds[k : k + step], size, device, motion) for k in range(0, batch, step)]
    if len(parts) == 1:
        return parts[0]
    return LabPairs(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(LabPairs)}
    )
