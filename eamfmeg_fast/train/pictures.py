"""Pictures of things, moved by random smooth warps: real texture with exactly known motion, and nobody's face."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.errors import BackendError
from eamfmeg_fast.train.transform import RandomWarp

PICTURES = (
    "brick",
    "cat",
    "clock",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "rocket",
    "text",
)
"""Of scikit-image's pictures those that come with the package and show no person."""


@cache
def picture(name: str) -> Tensor:
    """One of `PICTURES` as `[1, 3, H, W]` in [0, 1].

    Raises:
        BackendError: scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise BackendError("scikit-image is not installed", "it for training", "pip install scikit-image.") from error
    image = np.asarray(getattr(skimage.data, name)())
    image = image[..., None].repeat(3, -1) if image.ndim == 2 else image[..., :3]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def picture_pairs(batch: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of crops that a random smooth warp connects.

    Returns:
        first, second `[B, 3, size, size]` in [0, 1]; displacement_px `[B, size, size, 2]` (second -> first); valid
        `[B, size, size]`, false where the warp looks outside.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"pictures {seed}".encode()))
    first = torch.cat([_crop(generator, size) for _ in range(batch)])
    strength = 0.25 + 0.75 * float(torch.rand((), generator=generator))
    warp = RandomWarp(batch, generator, affine=0.04 * strength, spline=0.008 * strength)
    grid = warp.grid(size, size)
    second = F.grid_sample(first, grid, align_corners=False, padding_mode="border")
    still = RandomWarp(batch, generator, affine=0, spline=0).grid(size, size)
    displacement = (grid - still) * size / 2
    return first, _noisy(second, generator), displacement, (grid.abs() < 1).all(-1)


def _crop(generator: torch.Generator, size: int) -> Tensor:
    name = PICTURES[int(torch.randint(len(PICTURES), (), generator=generator))]
    full = picture(name)
    height, width = full.shape[2:]
    side = int(min(height, width) * (0.35 + 0.65 * float(torch.rand((), generator=generator))))
    top = int(torch.randint(height - side + 1, (), generator=generator))
    left = int(torch.randint(width - side + 1, (), generator=generator))
    crop = full[:, :, top : top + side, left : left + side]
    out = F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return _noisy(out, generator)


def _noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    level = 0.015 * float(torch.rand((), generator=generator))
    return (x + level * torch.randn(x.shape, generator=generator)).clamp(0, 1)
