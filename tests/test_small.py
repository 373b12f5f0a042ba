"""The shipped weights do what their card says: a held-out face repeats its own movement, and nothing is blurred."""

from __future__ import annotations

import numpy as np
import pytest

from eamfmeg_fast import Retargeter
from eamfmeg_fast.evaluate import score_clip
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.weights import load_network


@pytest.fixture(scope="module")
def retargeter() -> Retargeter:
    return Retargeter.from_pretrained("small", device="cpu")


def test_the_card_says_what_it_was_trained_on() -> None:
    network, info = load_network("small")
    assert info.preset == network.config.preset == "small"
    assert "nobody's face" in info.card["trained_on"] and "astronaut" in info.card["held_out"]
    assert info.path.stat().st_size <= 8e6


@pytest.mark.slow
def test_a_held_out_face_repeats_its_own_movement(retargeter: Retargeter) -> None:
    scores = []
    for person in HELD_OUT_SEEDS[30:33]:
        clip = lab_clip(person, action_units={1: 1.0, 2: 1.0, 12: 1.0}, fps=25, duration_s=0.4, noisy=False)
        scores.append(score_clip(retargeter, clip))
    assert min(score.psnr for score in scores) > 28
    assert np.mean([score.psnr_moving - score.psnr_still for score in scores]) > 2
    assert np.mean([score.end_point_error_px / score.motion_px for score in scores]) < 0.6


def test_a_portrait_at_rest_stays_itself(retargeter: Retargeter) -> None:
    from skimage.data import astronaut

    state = retargeter.prepare(astronaut(), "auto")
    image = retargeter.engine.step(state, state.keypoints, state.keypoints).image
    whole = (state.picture + state.grain)[0].permute(1, 2, 0).numpy() * 255
    assert 10 * np.log10(255**2 / ((image - whole) ** 2).mean()) > 32


def test_the_astronaut_s_keypoints_are_on_her_face(retargeter: Retargeter) -> None:
    from skimage.data import astronaut

    kp = retargeter.prepare(astronaut(), "auto").keypoints.kp[0].numpy()
    brows, lids, corners, lips = kp[0:4], kp[4:6], kp[6:8], kp[8:10]
    assert brows[:, 1].mean() < lids[:, 1].mean() < lids[:, 1].max() < corners[:, 1].min() - 0.3
    assert brows[0, 0] < brows[1, 0] and lids[0, 0] < lids[1, 0]
    assert corners[0, 0] < lips[:, 0].min() and lips[:, 0].max() < corners[1, 0]
    assert lips[0, 1] < lips[1, 1]
