"""The six figures, on clips whose motion is known."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from eamfmeg_fast.errors import DtypeError, InputError, ShapeError
from eamfmeg_fast.evaluate.fidelity import FidelityMeter, motion_fidelity
from eamfmeg_fast.evaluate.flow_cells import CellMotion, grey_thumbnail


def test_a_clip_repeats_itself(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    found = motion_fidelity(clip, clip, clip[0])
    assert (
        found.corr == pytest.approx(1) and found.gain == pytest.approx(1) and found.leak == pytest.approx(1, abs=1e-3)
    )
    assert found.start == 99 and found.sharp == pytest.approx(1, abs=0.1) and 0 < found.flicker < 10


def test_another_face_with_the_same_motion_is_faithful(made_up: SimpleNamespace) -> None:
    other = made_up.clip(seed=1)
    found = motion_fidelity(made_up.clip(), other, other[0])
    assert found.corr > 0.9 and 0.8 < found.gain < 1.2


@pytest.mark.parametrize("gain", [0.5, -0.5, 1.5])
def test_gain_is_the_strength(made_up: SimpleNamespace, gain: float) -> None:
    found = motion_fidelity(made_up.clip(), made_up.clip(gain=gain))
    assert found.gain == pytest.approx(gain, abs=0.08) and found.corr * np.sign(gain) > 0.97


def test_a_still_clip_correlates_with_nothing(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    found = motion_fidelity(clip, [clip[0]] * len(clip))
    assert found.corr == found.gain == found.flicker == 0 and found.leak < 0.01


def test_head_motion_is_taken_off(made_up: SimpleNamespace) -> None:
    found = motion_fidelity(made_up.clip(), made_up.clip(drift=0.3))
    assert found.corr > 0.95 and found.gain == pytest.approx(1, abs=0.1)
    cells = CellMotion(grey_thumbnail(made_up.clip()[0]))
    shifted = grey_thumbnail(made_up.moved(made_up.pattern(), shift=2.0))
    assert np.abs(cells.step(shifted)[2:-2, 2:-2]).max() < 0.2


def test_leak_grows_when_the_rest_moves(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    leaks = [motion_fidelity(clip, made_up.clip(elsewhere=amount)).leak for amount in (0.0, 0.3, 0.8)]
    assert leaks[0] < 1.05 and leaks[1] > 1.3 * leaks[0] and leaks[2] > 1.5 * leaks[1]


def test_blur_lowers_sharp_and_another_face_lowers_start(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    soft = [cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in clip]
    assert motion_fidelity(clip, soft, clip[0]).sharp < 0.6
    # Without a target the output is its own measure, which a blurred clip passes.
    assert motion_fidelity(clip, soft).sharp == pytest.approx(1, abs=0.1)
    assert motion_fidelity(clip, clip, made_up.clip(seed=1)[0]).start < 20


def test_flicker_grows_with_noise_that_comes_and_goes(made_up: SimpleNamespace) -> None:
    clip, rng = made_up.clip(), np.random.default_rng(0)
    noisy = [np.clip(frame + rng.normal(0, 6, frame.shape[:2])[..., None], 0, 255).astype(np.uint8) for frame in clip]
    calm, wild = motion_fidelity(clip, clip).flicker, motion_fidelity(clip, noisy).flicker
    # Second differences of white noise: sqrt(6) times its deviation.
    contrast = grey_thumbnail(noisy[0]).std()
    assert wild == pytest.approx(np.hypot(calm, 100 * np.sqrt(6) * 6 / contrast), rel=0.05)


def test_the_figures_are_what_their_definition_says(made_up: SimpleNamespace) -> None:
    """Sums over frames against all the flows at once."""
    driving, output = made_up.clip(), made_up.clip(seed=1, gain=0.7, elsewhere=0.4)
    a, b = (_flows(clip) for clip in (driving, output))
    peak, inner = np.linalg.norm(a, axis=-1).max(0), np.zeros((16, 16), bool)
    inner[2:14, 2:14] = True
    active = inner & (peak >= np.quantile(peak[inner], 0.85))
    still = inner & (peak <= np.median(peak[inner]))
    x, y = a[:, active].ravel(), b[:, active].ravel()
    found = motion_fidelity(driving, output, output[0])
    assert found.corr == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-5)
    assert found.gain == pytest.approx((x @ y) / (x @ x), abs=1e-5)
    assert found.leak == pytest.approx(np.sqrt((b[:, still] ** 2).sum() / (a[:, still] ** 2).sum()), rel=1e-4)


def _flows(clip: list[np.ndarray]) -> np.ndarray:
    cells = CellMotion(grey_thumbnail(clip[0]))
    return np.stack([cells.step(grey_thumbnail(frame)) for frame in clip[1:]]).astype(np.float64)


def test_cells_are_pixels_of_a_thumbnail_at_any_size(made_up: SimpleNamespace) -> None:
    picture = made_up.pattern()
    still, after = made_up.moved(picture), made_up.moved(picture, (64, 64, 0, 3))
    for size in (128, 256):
        small, large = (cv2.resize(p, (size, size), interpolation=cv2.INTER_CUBIC) for p in (still, after))
        cells = CellMotion(grey_thumbnail(small)).step(grey_thumbnail(large))
        assert cells.shape == (16, 16, 2)
        assert cells[7:9, 7:9, 1].mean() == pytest.approx(2.5, abs=0.5)
        assert abs(cells[7:9, 7:9, 0].mean()) < 0.2


def test_the_shorter_clip_ends_it(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    assert motion_fidelity(iter(clip), iter(clip[:5])) == motion_fidelity(clip[:5], clip)


def test_what_cannot_be_measured_is_refused(made_up: SimpleNamespace) -> None:
    clip = made_up.clip()
    with pytest.raises(InputError, match="2 frames"):
        motion_fidelity(clip[:2], clip)
    with pytest.raises(InputError):
        FidelityMeter().result()
    with pytest.raises(DtypeError):
        motion_fidelity([frame.astype(np.float32) for frame in clip], clip)
    with pytest.raises(ShapeError):
        FidelityMeter().step(grey_thumbnail(clip[0])[:64], grey_thumbnail(clip[0]))
