"""Action units move what they should, more when stronger; fields invert; seeds and envelopes keep their promises."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import ACTION_UNITS, EMOTIONS, HELD_OUT_SEEDS, LANDMARKS, TRAIN_SEEDS
from eamfmeg_fast.lab.action_units import intensity_vector, muscle_set
from eamfmeg_fast.lab.apertures import LID_REACH, LIP_REACH, eye_slit, mouth_slit, opening
from eamfmeg_fast.lab.envelope import draw_envelope, minimum_jerk
from eamfmeg_fast.lab.identity import draw_identity
from eamfmeg_fast.lab.motion import Expression, build_motion, landmarks_px, sample_field, soften, steepness
from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.seeds import identity_seeds

SIZE = 256
PEOPLE = draw_identity([3, 4, 5])
MUSCLES = muscle_set(PEOPLE)
ZERO = torch.zeros(3)


def _expression(units: dict[int, float]) -> Expression:
    return Expression(intensity_vector(units)[None, :, None].expand(3, -1, 2), ZERO, ZERO)


def _pose() -> Pose:
    one = torch.ones(3, 1, 1)
    return Pose(scale=0.9 * one, roll=0 * one, shift_x=0 * one, shift_y=0 * one, yaw=0 * one, pitch=0 * one)


def _shift(units: dict[int, float]) -> dict[str, torch.Tensor]:
    """Movement of every landmark in px, [3, 2]."""
    places = [landmarks_px(PEOPLE, build_motion(MUSCLES, _expression(e)), _pose(), SIZE) for e in ({}, units)]
    return dict(zip(LANDMARKS, (places[1] - places[0]).unbind(1), strict=True))


DIRECTIONS = [
    (1, "inner_brow_left", 1, -1), (2, "outer_brow_right", 1, -1), (4, "inner_brow_right", 1, 1),
    (4, "inner_brow_right", 0, -1), (4, "inner_brow_left", 0, 1), (5, "upper_lid_left", 1, -1),
    (6, "cheek_left", 1, -1), (7, "lower_lid_right", 1, -1), (9, "nose_wing_left", 1, -1),
    (10, "upper_lip", 1, -1), (12, "lip_corner_right", 0, 1), (12, "lip_corner_right", 1, -1),
    (12, "lip_corner_left", 0, -1), (14, "lip_corner_left", 0, -1), (15, "lip_corner_left", 1, 1),
    (17, "chin", 1, -1), (20, "lip_corner_right", 0, 1), (24, "lower_lip", 1, -1), (24, "upper_lip", 1, 1),
    (25, "lower_lip", 1, 1), (43, "upper_lid_left", 1, 1), (45, "upper_lid_right", 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "name", "axis", "sign"), DIRECTIONS)
def test_unit_moves_the_right_way_and_monotonically(unit: int, name: str, axis: int, sign: int) -> None:
    moved = torch.stack([_shift({unit: value})[name][:, axis] * sign for value in (0.25, 0.5, 1.0)])
    assert (moved[0] > 0.1).all() and (moved.diff(dim=0) > 0).all()
    assert moved.max() < 20.0


def test_every_unit_is_tested_and_micro_in_size() -> None:
    assert {row[0] for row in DIRECTIONS} == set(ACTION_UNITS)
    for unit in ACTION_UNITS:
        far = torch.stack([way.norm(dim=-1) for way in _shift({unit: 1.0}).values()]).amax()
        assert 1.5 < far < (14.0 if unit == 45 else 7.5), unit


def test_smile_leaves_the_brows_alone() -> None:
    moved = _shift({12: 1.0})
    assert moved["inner_brow_left"].abs().max() < 0.1 < moved["lip_corner_left"].abs().max()


def test_inverse_field_inverts() -> None:
    motion = build_motion(MUSCLES, soften(MUSCLES, _expression({1: 2.0, 4: 1.0, 12: 2.0, 20: 1.5})))
    axis = torch.linspace(-1.0, 1.0, 41)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = x.expand(3, -1, -1), y.expand(3, -1, -1)
    back_x, back_y = sample_field(motion.back, x, y)
    dx, dy = sample_field(motion.pull, x + back_x, y + back_y)
    assert back_x.abs().max() > 0.02
    assert torch.hypot(back_x + dx, back_y + dy).max() < 1.2e-3


def test_soften_keeps_fields_invertible_and_mild_ones_untouched() -> None:
    wild = soften(MUSCLES, _expression(dict.fromkeys(ACTION_UNITS, 2.0)))
    assert steepness(MUSCLES, wild).max() <= 0.6001
    mild = _expression({12: 0.8})
    assert torch.equal(soften(MUSCLES, mild).intensity, mild.intensity)


def test_slits_invert_on_skin() -> None:
    change = opening(_expression({5: 1.0, 7: 0.5, 25: 1.0}).intensity)
    x = torch.linspace(-0.6, 0.6, 61)[None, None].expand(3, 1, -1)
    y = torch.linspace(-0.6, 0.95, 201)[None, :, None].expand(3, -1, 61)
    for slit, reach in (
        (eye_slit(PEOPLE.shape, x, change), LID_REACH),
        (mouth_slit(PEOPLE.shape, x, change), LIP_REACH),
    ):
        skin = (y <= slit.upper) | (y > slit.lower)
        moved = y + slit.forward(y, reach)
        off = (moved + slit.backward(moved, reach) - y).abs()
        assert off[skin].max() < 1e-5 and slit.forward(y, reach).abs().max() > 0.005


def test_blink_closes_and_parting_opens() -> None:
    x, pixel = PEOPLE.shape.eye_x, torch.full((3, 1, 1), 0.008)
    seen = {}
    for value in (0.0, 1.0):
        slit = eye_slit(PEOPLE.shape, x, opening(_expression({45: value}).intensity))
        seen[value] = slit.cover(PEOPLE.shape.eye_y, pixel)
    assert (seen[0.0] > 0.9).all() and (seen[1.0] == 0).all()
    middle = torch.zeros(3, 1, 1)
    neutral = mouth_slit(PEOPLE.shape, middle, opening(_expression({}).intensity))
    parted = mouth_slit(PEOPLE.shape, middle, opening(_expression({25: 1.0}).intensity))
    assert (neutral.cover(neutral.upper, pixel) == 0).all()
    assert (parted.cover(parted.upper + 0.008, pixel) > 0.9).all()


def test_pose_round_trip() -> None:
    one = torch.ones(1, 1, 1)
    pose = Pose(
        scale=0.9 * one, roll=0.15 * one, shift_x=0.1 * one, shift_y=-0.1 * one, yaw=0.25 * one, pitch=-0.22 * one
    )
    x, y = torch.meshgrid(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9), indexing="xy")
    back = pose.to_head(*pose.to_frame(x[None], y[None]))
    assert torch.allclose(back[0], x[None], atol=1e-5) and torch.allclose(back[1], y[None], atol=1e-5)


def test_difference_and_change_of_poses_are_what_they_say() -> None:
    one = torch.ones(1, 1, 1)
    poses = [
        Pose(0.9 * one, turn * one, 0.1 * one, -0.2 * one, yaw=turn * one, pitch=-2 * turn * one)
        for turn in (0.05, 0.12)
    ]
    x, y = (way[None] for way in torch.meshgrid(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9), indexing="xy"))
    dx, dy = 0.05 * y, 0.1 * x * x
    here, there, moved = poses[0].to_frame(x, y), poses[1].to_frame(x, y), poses[0].to_frame(x + dx, y + dy)
    for axis, (apart, shifted) in enumerate(
        zip(poses[0].difference(poses[1], x, y), poses[0].change((x, y), dx, dy), strict=True)
    ):
        torch.testing.assert_close(apart, here[axis] - there[axis], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(shifted, moved[axis] - here[axis], atol=1e-6, rtol=1e-5)
    assert all((part == 0).all() for part in poses[0].difference(poses[0], x, y))
    assert all((part == 0).all() for part in poses[0].change((x, y), 0 * dx, 0 * dy))


def test_splits_are_disjoint() -> None:
    assert TRAIN_SEEDS.stop <= HELD_OUT_SEEDS.start
    train, held_out = (set(identity_seeds(1, 200, split)) for split in ("train", "held_out"))
    assert not train & held_out and len(train) > 195 and len(held_out) > 195
    assert all(number in TRAIN_SEEDS for number in train) and all(number in HELD_OUT_SEEDS for number in held_out)


def test_identity_does_not_depend_on_the_batch() -> None:
    alone = draw_identity([4])
    for room in ("shape", "look", "hair"):
        for name in vars(getattr(alone, room)):
            assert torch.equal(getattr(getattr(alone, room), name)[0], getattr(getattr(PEOPLE, room), name)[1]), name


@pytest.mark.parametrize("fps", [25, 30, 60, 100, 200])
def test_envelope_facts(fps: int) -> None:
    lengths = set()
    for seed in range(40):
        envelope = draw_envelope(seed, fps)
        amount, length = envelope.amount, (envelope.offset - envelope.onset) / fps
        assert 0.065 <= length <= 0.5 and envelope.offset - envelope.onset + 1 >= 3
        assert envelope.onset < envelope.apex < envelope.offset < len(amount)
        assert amount.argmax() == envelope.apex and amount[envelope.apex] == 1
        assert amount[: envelope.onset + 1].max() == 0 and amount[envelope.offset :].max() == 0
        lengths.add(envelope.offset - envelope.onset)
    assert len(lengths) > 4


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    course = minimum_jerk(torch.linspace(0, 1, 101))
    assert course[0] == 0 and course[-1] == 1 and (course.diff() >= 0).all()
    assert course.diff()[0] < 1e-4 and course.diff()[-1] < 1e-4 and course.diff().max() > 0.018


def test_wrong_envelopes_and_units_are_refused() -> None:
    for arguments in ((1, 10), (1, 100, 0.9), (1, 100, 0.01)):
        with pytest.raises(OptionError):
            draw_envelope(*arguments)
    for units in ({3: 0.5}, {12: -1.0}, {12: 2.5}):
        with pytest.raises(OptionError):
            intensity_vector(units)
    assert all(set(units) <= set(ACTION_UNITS) for units in EMOTIONS.values())
    assert LANDMARKS[:2] == ("inner_brow_left", "inner_brow_right") and LANDMARKS[8:10] == ("upper_lip", "lower_lip")
