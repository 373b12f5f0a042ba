"""Random smooth warps with known truth: equivariance transforms, and motion for pictures that have none."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import identity_grid


class RandomWarp:
    """An affine map plus a thin-plate spline, one for each of B pictures (FOMM, section 3.4).

    Convention:
        `warp(z)` is where a warped picture takes its value at z from: backward, (x, y) in [-1, 1], centres of a grid of
        pixels as in `geometry.axis(..., "centres")`.

    Args:
        batch: B. generator: its random numbers.
        affine: standard deviation of the affine part. spline: of the control points' coefficients.
        points: control points a side.
    """

    def __init__(
        self, batch: int, generator: torch.Generator, *, affine: float = 0.05, spline: float = 0.005, points: int = 5
    ) -> None:
        noise = torch.randn(batch, 2, 3, generator=generator) * affine
        self.theta = noise + torch.eye(2, 3)
        self.points = identity_grid(points, points, "corners", dtype=torch.float32).reshape(1, -1, 2)
        self.control = torch.randn(batch, 1, points**2, 1, generator=generator) * spline

    def __call__(self, z: Tensor) -> Tensor:
        """Map `[B, N, 2]` coordinates."""
        theta = self.theta.to(z)
        out = z @ theta[:, :, :2].transpose(1, 2) + theta[:, None, :, 2]
        distance = (z[:, :, None] - self.points.to(z)[:, None]).abs().sum(-1)
        bump = distance**2 * torch.log(distance + 1e-6)
        return out + (bump[:, None] * self.control.to(z).transpose(2, 3)).sum(-1).transpose(1, 2)

    def grid(self, height: int, width: int) -> Tensor:
        """The sampling grid `[B, height, width, 2]`."""
        z = identity_grid(height, width, "centres", dtype=torch.float32).reshape(1, -1, 2)
        return self(z.expand(self.theta.shape[0], -1, 2)).reshape(-1, height, width, 2)

    def jacobian(self, z: Tensor, step: float = 1e-3) -> Tensor:
        """d warp / d z at `[B, N, 2]`, `[B, N, 2, 2]`, by central differences."""
        columns = []
        for axis in range(2):
            delta = torch.zeros(2, dtype=z.dtype, device=z.device)
            delta[axis] = step
            columns.append((self(z + delta) - self(z - delta)) / (2 * step))
        return torch.stack(columns, dim=-1)
