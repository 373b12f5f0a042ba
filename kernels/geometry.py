"""Pixel grids and 2x2 affine algebra that the motion operators share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PixelGrid = Literal["corners", "centres"]


def axis(length: int, pixel_grid: PixelGrid, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Normalised coordinates of the pixels of one axis, `[length]`.

    Convention:
        "corners": 2 i / (length - 1) - 1, so the centres of the outer pixels are -1 and 1 (upstream's grid);
        "centres": (2 i + 1) / length - 1, so the outer edges of the outer pixels are -1 and 1.
        One pixel alone is 0 in both.
    """
    i = torch.arange(length, dtype=dtype, device=device)
    if length == 1:
        return torch.zeros(1, dtype=dtype, device=device)
    if pixel_grid == "corners":
        return 2 * (i / (length - 1)) - 1
    return (2 * i + 1) / length - 1


def identity_grid(
    height: int, width: int, pixel_grid: PixelGrid, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """The grid that samples every pixel where it is, `[height, width, 2]` in (x, y) order."""
    y = axis(height, pixel_grid, dtype=dtype, device=device)
    x = axis(width, pixel_grid, dtype=dtype, device=device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)


def displacement_px(flow: Tensor, pixel_grid: PixelGrid, size: int) -> Tensor:
    """How far each cell of `flow` `[..., h, w, 2]` samples from itself, in pixels of a picture of side `size`.

    Convention:
        Backward: from the driving pixel towards where the target's content comes from, (x, y).
    """
    still = identity_grid(flow.shape[-3], flow.shape[-2], pixel_grid, dtype=flow.dtype, device=flow.device)
    return (flow - still) * (size / 2)


def affine_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """`numerator @ inverse(denominator)` of 2x2 matrices `[..., 2, 2]`.

    Written out so that equal matrices give the identity to the last bit: a face at rest must not move.
    """
    (a, b), (c, d) = _entries(numerator)
    (p, q), (r, s) = _entries(denominator)
    det = p * s - q * r
    rows = [
        torch.stack([(a * s - b * r) / det, (b * p - a * q) / det], dim=-1),
        torch.stack([(c * s - d * r) / det, (d * p - c * q) / det], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def affine_of(kp_target: Tensor, jacobian_target: Tensor, kp_driving: Tensor, jacobian_driving: Tensor) -> Tensor:
    """The K affine maps driving -> target around the keypoints, `[B, K, 2, 3]`.

    Convention:
        `z -> kp_target + A (z - kp_driving)` with `A = jacobian_target @ inverse(jacobian_driving)`; column 2 holds
        the offset `kp_target - A kp_driving`. Coordinates (x, y) in [-1, 1]. FOMM, equation 4.
    """
    matrix = affine_ratio(jacobian_target, jacobian_driving)
    moved = (matrix * kp_driving[..., None, :]).sum(-1)
    return torch.cat([matrix, (kp_target - moved)[..., None]], dim=-1)


def _entries(m: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (m[..., 0, 0], m[..., 0, 1]), (m[..., 1, 0], m[..., 1, 1])
