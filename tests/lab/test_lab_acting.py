"""What pairs show: lids in many of them, both sides of their own, turns within limits, things that are not the face."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.lab import ACTION_UNITS
from eamfmeg_fast.lab import pairs as pairs_room
from eamfmeg_fast.lab.acting import FURTHEST_TURN, draw_acting
from eamfmeg_fast.lab.distractors import draw_distractors
from eamfmeg_fast.lab.framing import draw_framing
from eamfmeg_fast.lab.motion import Expression
from eamfmeg_fast.lab.seeds import Draw

SEEDS = list(range(400))
LIDS = [ACTION_UNITS.index(unit) for unit in (5, 7, 43, 45)]


@pytest.fixture(scope="module")
def acting() -> list[Expression]:
    pose = draw_framing(Draw(SEEDS, 1, "cpu"))
    return draw_acting(SEEDS, (pose, pose), torch.zeros(len(SEEDS), 1, 1))


def test_lids_move_in_many_pairs(acting: list[Expression]) -> None:
    change = (acting[1].intensity - acting[0].intensity)[:, LIDS].abs().amax((1, 2))
    assert (change > 0.2).float().mean() > 0.5
    closed = acting[1].intensity[:, ACTION_UNITS.index(45)].amax(1) > 0.25
    assert 0.10 < closed.float().mean() < 0.5


def test_sides_are_uneven_in_some_and_every_unit_occurs(acting: list[Expression]) -> None:
    left, right = acting[1].intensity.unbind(2)
    shown = torch.maximum(left, right) > 0.1
    uneven = ((left - right).abs() > 0.1) & shown
    alone = (torch.minimum(left, right) == 0) & shown
    assert 0.2 < uneven.sum() / shown.sum() < 0.6 and 0.05 < alone.sum() / shown.sum() < 0.2
    assert (left > right).any() and (right > left).any()
    assert shown.any(0).all() and acting[1].intensity.max() <= 2.0


def test_gaze_moves_in_some_pairs_and_stays_in_others(acting: list[Expression]) -> None:
    assert acting[0].gaze is not None and acting[1].gaze is not None
    shift = (acting[1].gaze - acting[0].gaze).abs().amax(1)
    assert 0.3 < (shift > 0).float().mean() < 0.5 and (shift == 0).any() and shift.max() < 0.08


def test_turns_stay_within_fifteen_degrees() -> None:
    draw = Draw(SEEDS, 2, "cpu", width=48)
    rest = draw_framing(draw)
    moved = pairs_room._moved_pose(rest, draw, torch.ones(len(SEEDS), 1, 1))
    for angle in (moved.yaw, moved.pitch):
        assert 0.15 < angle.abs().max() <= FURTHEST_TURN
    assert (moved.yaw - rest.yaw).abs().max() > 0.15


def test_distractors_move_and_count_as_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(seeds: list[int], device: str) -> object:
        first, second = draw_distractors(list(range(40, 40 + 20)), device) or (None, None)
        assert first is not None and second is not None
        row = int((first.behind.shown * first.before.shown)[:, 0, 0].argmax())
        assert first.behind.shown[row] == first.before.shown[row] == 1
        pick = [type(kind)(*(part[row : row + 1] for part in vars(kind).values()))
                for kind in (first.behind, first.before, second.behind, second.before)]  # fmt: skip
        return type(first)(pick[0], pick[1]), type(first)(pick[2], pick[3])

    size = 64
    plain = pairs_room.sample_pairs(2, size=size, seed=3)
    monkeypatch.setattr(pairs_room, "draw_distractors", crowded)
    full = pairs_room.sample_pairs(2, size=size, seed=3)
    assert torch.equal(full.displacement_px, plain.displacement_px)
    differs = (full.second - plain.second).abs().amax(1) > 0.1
    assert differs.float().mean() > 0.02
    # The encoder spreads a little of what it sees into the same block.
    assert (full.valid & differs).float().mean() < 0.15 * differs.float().mean()
