"""Pairs of frames with exact motion: the feed of the training loop."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.acting import FURTHEST_TURN, draw_acting
from eamfmeg_fast.lab.action_units import muscle_set
from eamfmeg_fast.lab.camera import draw_camera, retouch, shoot
from eamfmeg_fast.lab.distractors import draw_distractors
from eamfmeg_fast.lab.edges import edge_map
from eamfmeg_fast.lab.framing import draw_framing
from eamfmeg_fast.lab.identity import Identity, draw_identity
from eamfmeg_fast.lab.motion import Motion, build_motion, landmarks_px, soften
from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.render import Rendered, displacement, paint, render, visible
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

    def turned(angle: Tensor, most: float) -> Tensor:
        way = big * draw.middle(-most, most) + (1.0 - big) * moving * draw.middle(-0.012, 0.012)
        return (angle + way).clamp(-FURTHEST_TURN, FURTHEST_TURN)

    return Pose(
        scale=pose.scale * (1.0 + big * draw.middle(-0.06, 0.06) + (1.0 - big) * moving * draw.middle(-0.005, 0.005)),
        roll=pose.roll + big * draw.middle(-0.14, 0.14) + (1.0 - big) * turn * draw.uniform(-1.0, 1.0),
        shift_x=pose.shift_x + big * draw.middle(-0.12, 0.12) + (1.0 - big) * drift * draw.uniform(-1.0, 1.0),
        shift_y=pose.shift_y + big * draw.middle(-0.12, 0.12) + (1.0 - big) * drift * draw.uniform(-1.0, 1.0),
        yaw=turned(pose.yaw, 0.30),
        pitch=turned(pose.pitch, 0.24),
    )


def _drawn(
    identity: Identity, seeds: list[int], poses: tuple[Pose, Pose], big: Tensor, size: int
) -> tuple[tuple[Rendered, Rendered], tuple[Motion, Motion]]:
    """Both frames as drawn, and how the face moves in each."""
    muscles = muscle_set(identity)
    motions = [build_motion(muscles, soften(muscles, acting)) for acting in draw_acting(seeds, poses, big)]
    textures = paint(identity, poses[0], size)
    things = draw_distractors(seeds, identity.device) or (None, None)
    first, second = (render(identity, textures, motions[k], poses[k], size, things[k]) for k in (0, 1))
    return (first, second), (motions[0], motions[1])


def _pair(people: list[int], seeds: list[int], size: int, device: torch.device | str, motion: str) -> LabPairs:
    identity = draw_identity(people, device)
    draw = Draw(seeds, 0xA1, device, width=48)
    big = draw.chance(0.5 if motion == "mixed" else 0.0)
    rest = draw_framing(draw)
    poses = (rest, _moved_pose(rest, draw, big, still=0.25))
    drawn, motions = _drawn(identity, seeds, poses, big, size)
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
