"""The three pictures that the goldens were computed on, made from scikit-image's astronaut (public domain, NASA)."""

from __future__ import annotations

import numpy as np


def golden_pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """target, initial and driving picture, uint8 [256, 256, 3]."""
    from skimage.data import astronaut

    crop = astronaut()[20:260, 100:340].astype(np.float64)
    centre = (np.arange(256) + 0.5) * (240 / 256) - 0.5
    target = _round(_bilinear(crop, *np.meshgrid(centre, centre)))
    initial = _moved(target, amplitude=0.010, phase=0.3, shift=(0.010, -0.005), zoom=0.99, exposure=1.00)
    driving = _moved(target, amplitude=0.035, phase=1.1, shift=(-0.020, 0.030), zoom=0.96, exposure=0.97)
    return target, initial, driving


def _moved(picture, amplitude, phase, shift, zoom, exposure):
    line = np.linspace(-1, 1, 256)
    x, y = np.meshgrid(line, line)
    dx = amplitude * np.sin(np.pi * y + phase) * np.cos(0.5 * np.pi * x) + shift[0]
    dy = amplitude * np.sin(1.5 * np.pi * x + 2 * phase) * np.cos(0.5 * np.pi * y) + shift[1]
    return _round(
        exposure * _bilinear(picture.astype(np.float64), (zoom * x + dx + 1) * 127.5, (zoom * y + dy + 1) * 127.5)
    )


def _bilinear(picture, x, y):
    height, width = picture.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0 = np.minimum(np.floor(x).astype(int), width - 2)
    y0 = np.minimum(np.floor(y).astype(int), height - 2)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = (1 - fx) * picture[y0, x0] + fx * picture[y0, x0 + 1]
    bottom = (1 - fx) * picture[y0 + 1, x0] + fx * picture[y0 + 1, x0 + 1]
    return (1 - fy) * top + fy * bottom


def _round(picture):
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)
