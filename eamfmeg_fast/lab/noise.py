"""Smooth random fields on regular grids: cubic B-spline sums of normal numbers, the same at any resolution."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def smoothstep(x: Tensor) -> Tensor:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def bell(x: Tensor, width: Tensor | float) -> Tensor:
    """exp(-(x / width)^2), a stroke profile; held above e^-30, because denormal numbers are slow on CPUs."""
    reach = x / width
    return torch.exp(-(reach * reach).clamp(max=30.0))


def spline_basis(places: Tensor, knots: int) -> Tensor:
    """Weights of `knots` cubic B-splines spread over [-1, 1], at `places` (any shape): float32 [*places, knots].

    Rows are scaled so that a sum of unit normal numbers has about unit variance.
    """
    position = (places + 1.0) * 0.5 * (knots - 3) + 1.0
    offset = (position[..., None] - torch.arange(knots, device=places.device, dtype=places.dtype)).abs()
    near = 2.0 / 3.0 - offset * offset * (1.0 - 0.5 * offset)
    far = (2.0 - offset).clamp(min=0.0) ** 3 / 6.0
    return torch.where(offset < 1.0, near, far) * 1.45


def spline_field(grid: Tensor, height: int, width: int) -> Tensor:
    """Evaluate spline coefficients at pixel centres.

    Args:
        grid: float32 [B, C, n, m], normal numbers.
        height, width: pixels.

    Returns:
        float32 [B, C, height, width], about unit variance.

    Convention: pixel i lies at (2 i + 1) / size - 1 in [-1, 1] (its centre), as align_corners=False.
    """
    rows, columns = grid.shape[-2:]
    down = spline_basis(centres(height, grid.device), rows)
    across = spline_basis(centres(width, grid.device), columns)
    return torch.matmul(torch.matmul(down, grid), across.t())


def centres(count: int, device: torch.device | str) -> Tensor:
    """Pixel centres in [-1, 1], float32 [count]."""
    return (2.0 * torch.arange(count, device=device, dtype=torch.float32) + 1.0) / count - 1.0
