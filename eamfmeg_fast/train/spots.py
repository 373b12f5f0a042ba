"""Moles on both pictures of a pair, moving with the skin: what looks like a corner of the mouth must not become one."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import identity_grid
from eamfmeg_fast.kernels.warp_occlude.reference import warp


def add_spots(first: Tensor, second: Tensor, displacement_px: Tensor, *, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Paint up to `most` soft spots, mostly dark, on each pair.

    Args:
        first, second: `[B, 3, S, S]` in [0, 1].
        displacement_px: `[B, S, S, 2]`, second -> first.
        most: each pair gets a random number of spots up to this.
        seed: of where, how large and how dark.

    Returns:
        Both pictures with the same spots, the second one's moved along the true displacement.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"spots {seed}".encode()))
    batch, _, size, _ = first.shape
    at = identity_grid(size, size, "centres", dtype=first.dtype, device=first.device)
    place, draw = torch.rand(batch, most, 2, generator=generator), torch.rand(batch, most, 3, generator=generator)
    place, draw = place.to(first.device), draw.to(first.device)
    centre = 1.6 * place - 0.8
    radius = 0.008 + 0.03 * draw[..., 0] ** 2
    strength = 0.7 * draw[..., 1] * (draw[..., 2] < 0.5)
    distance = ((at - centre[:, :, None, None]) ** 2).sum(-1)
    shape = torch.exp(-((distance / radius[..., None, None] ** 2) ** 2))
    shade = (strength[..., None, None] * shape).sum(1).clamp(max=0.8)
    moved = warp(shade[..., None], at + displacement_px * (2 / size))[..., 0]
    return first * (1 - shade[:, None]), second * (1 - moved[:, None])
