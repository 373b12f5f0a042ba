"""Grain is what is fine and weak; it stays while the picture moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.network.grain import split_grain


def scene(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture with one strong edge, and weak noise, `[1, 3, 128, 128]` in float64."""
    x = torch.linspace(0, 1, 128, dtype=torch.float64)
    smooth = (0.3 + 0.2 * x[None] * x[:, None]).expand(1, 3, 128, 128).clone()
    smooth[..., 64:] += 0.4
    grain = noise * torch.randn(smooth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return smooth, grain


def test_the_parts_add_up_and_noise_goes_to_the_grain() -> None:
    smooth, noise = scene(0.01)
    base, grain = split_grain(smooth + noise)
    assert torch.allclose(base + grain, smooth + noise, atol=1e-12)
    away = torch.ones(128, dtype=torch.bool)
    away[56:72] = False
    both = torch.stack([grain[..., away].flatten(), noise[..., away].flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9
    assert (base - smooth)[..., away].std() < 0.5 * noise.std()


def test_a_strong_edge_stays_with_the_face() -> None:
    smooth, noise = scene(0.01)
    _, grain = split_grain(smooth + noise)
    assert grain.abs().max() < 0.06
    _, nothing = split_grain(torch.full((1, 3, 64, 64), 0.5))
    assert nothing.abs().max() < 1e-6


def test_a_clean_picture_keeps_its_details_and_leaves_no_ghost_of_them() -> None:
    """Half of it is textured, half smooth: that is no noise, and what is strong in it moves as a whole."""
    smooth, noise = scene(0.02)
    noise[..., 40:] *= 0.05
    _, grain = split_grain(smooth + noise)
    detail = smooth + noise - _lowpass(smooth + noise)
    strong = detail.abs() > 3 * detail.abs().median() / 0.6745
    assert 0.1 < strong.double().mean() < 0.5 and not grain[strong].any()
    _, other = split_grain(smooth + scene(0.02)[1])
    assert other[..., :56].std() > 10 * grain[..., 72:].std()


def test_the_split_changes_gradually_from_clean_to_grainy() -> None:
    smooth, noise = scene(0.01)
    faint = noise.clone()
    faint[..., 64:] *= 0
    grains = [split_grain(smooth + faint + part * (noise - faint))[1] for part in torch.linspace(0.3, 0.8, 51)]
    steps = torch.stack([(b - a).abs().max() for a, b in pairwise(grains)])
    assert steps.max() < 0.01 and (grains[-1] - grains[0]).abs().max() > 2 * steps.max()


def test_grain_stands_still_when_the_face_moves() -> None:
    rng = np.random.default_rng(5)
    target = np.clip(128 + 5 * rng.standard_normal((256, 256, 3)), 0, 255).astype(np.uint8)
    engine = Engine(fill_seeded(build_network("small")), device="cpu")
    state = engine.prepare(target)
    assert state.grain is not None
    moved = state.keypoints._replace(kp=state.keypoints.kp + 0.02)
    drawn = engine.step(state, state.keypoints, moved).image.astype(np.float64)
    inner = np.s_[32:-32, 32:-32]
    fine = (drawn - _blur(drawn))[inner].ravel()
    assert np.corrcoef(fine, state.grain[0].permute(1, 2, 0).numpy()[inner].ravel())[0, 1] > 0.7


def test_parity_presets_have_no_grain() -> None:
    target = np.zeros((256, 256, 3), np.uint8)
    assert Engine(fill_seeded(build_network("fomm")), device="cpu").prepare(target).grain is None


def _lowpass(picture: torch.Tensor) -> torch.Tensor:
    inner = _blur(picture[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(inner).permute(2, 0, 1)[None]


def _blur(image: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(image, (0, 0), 2.0)
