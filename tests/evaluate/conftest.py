"""Clips whose motion is known: a pattern, one part of which moves."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

SIDE = 128
CURVE = 2.5 * np.sin(np.linspace(0, np.pi, 12)) ** 2
"""How far the moving part has moved in each frame, px of 128; the first frame is at rest."""
_SPREAD = 12.0


def pattern(seed: int = 0) -> np.ndarray:
    """Smooth noise of mixed scales, float32 [128, 128] in 0..255."""
    rng = np.random.default_rng(seed)
    scales = (1.5, 3.0, 6.0)
    noise = sum(s * cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), s) for s in scales)
    return np.asarray(128 + 45 * noise / noise.std(), np.float32).clip(0, 255)


def moved(picture: np.ndarray, *parts: tuple[float, float, float, float], shift: float = 0.0) -> np.ndarray:
    """`picture` with bell-shaped parts (x, y, right, down) moved and all of it shifted right, uint8 RGB."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    map_x, map_y = x - np.float32(shift), y.copy()
    for at_x, at_y, right, down in parts:
        bell = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * _SPREAD**2)).astype(np.float32)
        map_x, map_y = map_x - np.float32(right) * bell, map_y - np.float32(down) * bell
    seen = cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.repeat(np.clip(seen + 0.5, 0, 255).astype(np.uint8)[..., None], 3, -1)


def clip(seed: int = 0, gain: float = 1.0, drift: float = 0.0, elsewhere: float = 0.0) -> list[np.ndarray]:
    """A clip in which the part around (44, 52) goes down and right by `gain * CURVE`.

    Args:
        drift: px that the whole pattern goes right in each frame. elsewhere: of CURVE, how far another part goes left.
    """
    picture = pattern(seed)
    return [
        moved(picture, (44, 52, 0.5 * gain * a, gain * a), (88, 84, -elsewhere * a, 0), shift=drift * t)
        for t, a in enumerate(CURVE)
    ]


@pytest.fixture(scope="session")
def made_up() -> SimpleNamespace:
    """The functions of this file."""
    return SimpleNamespace(clip=clip, moved=moved, pattern=pattern)
