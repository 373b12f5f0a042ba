"""What the dense motion is told is the truth, within the errors it shall get used to."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.lab import sample_pairs
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.train import losses
from eamfmeg_fast.train.feed import Batch
from eamfmeg_fast.train.teaching import taught


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two lab faces and nothing else."""
    pairs = sample_pairs(2, size=128, seed=5, motion="mixed")
    return Batch(faces=2, **vars(pairs))


def found(count: int = 10) -> tuple[Keypoints, Keypoints]:
    """A detector that finds everything in the middle."""
    nothing = Keypoints(torch.zeros(2, count, 2), torch.eye(2).expand(2, count, 2, 2))
    return nothing, nothing


def test_told_motion_is_true_where_the_landmarks_are(batch: Batch) -> None:
    truth = losses.flow_truth(batch, 64, 64)
    first, second = taught(*found(), batch, truth, part=1.0, seed=1)
    true = (batch.second_landmarks_px - batch.first_landmarks_px)[:, :10] * 2
    got = losses.pixels(second.kp - first.kp)
    assert (got - true).abs().max() < 0.3, "px at 256"
    where = losses.pixels(first.kp - losses.landmarks(batch.first_landmarks_px, 128, 10))
    assert 0.3 < float(where.std()) < 3
    affine = affine_of(first.kp, first.jacobian, second.kp, second.jacobian)
    assert losses.affine_loss(affine, second, *truth, 2) < 0.5 * losses.affine_loss(affine.flip(1), second, *truth, 2)


def test_share_and_seed_decide_who_is_told(batch: Batch) -> None:
    truth = losses.flow_truth(batch, 64, 64)
    untold = taught(*found(), batch, truth, part=0.0, seed=1)
    assert not untold[0].kp.any() and not untold[1].kp.any()
    told = [taught(*found(), batch, truth, part=0.5, seed=seed)[0].kp.flatten(1).any(1).sum() for seed in range(20)]
    assert 5 < sum(map(int, told)) < 35
    again = taught(*found(), batch, truth, part=1.0, seed=3)[1].kp
    assert torch.equal(again, taught(*found(), batch, truth, part=1.0, seed=3)[1].kp)
