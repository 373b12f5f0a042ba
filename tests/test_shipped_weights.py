"""The shipped weights do what their cards say: a held-out face repeats its own movement, and nothing is blurred."""

from __future__ import annotations

import numpy as np
import pytest

from eamfmeg_fast import Retargeter
from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.evaluate import score_clip
from eamfmeg_fast.kernels.geometry import displacement_px
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LANDMARKS, lab_clip
from eamfmeg_fast.train.parts import part_of
from eamfmeg_fast.weights import load_network, pretrained_names

MOST_BYTES = {"base": 16e6, "small": 8e6}


@pytest.fixture(scope="module", params=sorted(MOST_BYTES))
def retargeter(request: pytest.FixtureRequest) -> Retargeter:
    return Retargeter.from_pretrained(request.param, device="cpu")


@pytest.mark.parametrize("name", sorted(MOST_BYTES))
def test_the_card_says_what_it_was_trained_on(name: str) -> None:
    network, info = load_network(name)
    assert info.preset == network.config.preset == name
    assert "nobody's face" in info.card["trained_on"] and "astronaut" in info.card["held_out"]
    assert info.card["steps"] == info.card["steps_of_recipe"] and info.path.stat().st_size <= MOST_BYTES[name]


def test_small_has_the_front_of_base() -> None:
    assert DEFAULT_WEIGHTS in pretrained_names() and set(MOST_BYTES) == set(pretrained_names())
    (base, info), (small, own) = load_network("base"), load_network("small")
    assert own.card["started_from"] == info.content_sha256
    others = small.state_dict()
    for name, value in base.state_dict().items():
        if part_of(name) == "front":
            assert (others[name] == value).all(), name


@pytest.mark.slow
def test_a_held_out_face_repeats_its_own_movement(retargeter: Retargeter) -> None:
    scores = []
    for person in HELD_OUT_SEEDS[30:33]:
        clip = lab_clip(person, action_units={1: 1.0, 2: 1.0, 12: 1.0}, fps=25, duration_s=0.4, noisy=False)
        scores.append(score_clip(retargeter, clip))
    assert min(score.psnr for score in scores) > 28
    assert np.mean([score.psnr_moving - score.psnr_still for score in scores]) > 2
    assert np.mean([score.end_point_error_px / score.motion_px for score in scores]) < 0.6


@pytest.mark.slow
def test_an_eye_closes(retargeter: Retargeter) -> None:
    """Of the way that the lid's skin goes over the eye in a blink, most is gone; nothing much happens at the mouth."""
    names = "upper_lid_left", "upper_lid_right", "lip_corner_left", "lip_corner_right"
    ours, true = np.zeros(4), np.zeros(4)
    for number in range(3):
        person = HELD_OUT_SEEDS[31 * number]
        clip = lab_clip(person, action_units={45: 1.0}, fps=50, duration_s=0.5, drift=0.0, seed=number)
        frames = clip.frames.numpy()
        state, initial = retargeter.prepare(frames[0]), retargeter.engine.detect(frames[0])
        drawn = retargeter.engine.step(state, initial, retargeter.engine.detect(frames[clip.apex]))
        moved = displacement_px(drawn.flow, retargeter.config.pixel_grid, 256)[0].numpy()
        for at, name in enumerate(names):
            x, y = clip.landmarks_px[clip.apex, LANDMARKS.index(name)].round().long().tolist()
            ours[at] += abs(moved[y // 4, x // 4, 1])
            true[at] += abs(float(clip.displacement_px[clip.apex, y, x, 1]))
    assert (true[:2] > 6).all() and (ours[:2] > 0.5 * true[:2]).all() and (ours[2:] < 1.5).all()


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
