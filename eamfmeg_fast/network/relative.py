"""Relative motion: what moved in the driving clip, put onto the target's keypoints."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.geometry import affine_ratio
from eamfmeg_fast.network.keypoint_detector import Keypoints

_FLAT = 1e-6
"""Hull areas below this are of points on a line; the whole picture has 4."""


def move(
    target: Keypoints,
    initial: Keypoints,
    driving: Keypoints,
    *,
    gain: float = 1.0,
    adapt_scale: bool = False,
    scale: Tensor | None = None,
) -> Keypoints:
    """The target's keypoints, moved as the driving ones moved since the initial frame (FOMM, equation 7).

    `kp_target + gain * scale * (kp_driving - kp_initial)`; Jacobians relative and unscaled. With `adapt_scale`, the
    scale is the square root of the ratio of the keypoints' hull areas, target to initial, else 1; or it is `scale`.
    """
    if scale is None:
        scale = hull_scale(target.kp, initial.kp) if adapt_scale else target.kp.new_ones(1)
    kp = target.kp + (gain * scale)[:, None, None] * (driving.kp - initial.kp)
    jacobian = affine_ratio(driving.jacobian, initial.jacobian) @ target.jacobian
    return Keypoints(kp, jacobian)


def hull_scale(kp_target: Tensor, kp_initial: Tensor) -> Tensor:
    """sqrt(hull area of the target's keypoints / of the initial ones), `[B]`; 1 where either hull is flat."""
    scales = []
    for a, b in zip(*torch.broadcast_tensors(kp_target, kp_initial), strict=True):
        area, base = hull_area(a), hull_area(b)
        scales.append((area / base) ** 0.5 if min(area, base) > _FLAT else 1.0)
    return torch.tensor(scales, dtype=kp_target.dtype, device=kp_target.device)


def hull_area(points: Tensor) -> float:
    """Area of the convex hull of `[N, 2]` points (Andrew's monotone chain, shoelace formula)."""
    ordered = sorted(tuple(p) for p in points.detach().double().cpu().tolist())
    hull = _chain(ordered)[:-1] + _chain(ordered[::-1])[:-1]
    pairs = zip(hull, hull[1:] + hull[:1])
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def _chain(points: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    chain: list[tuple[float, ...]] = []
    for p in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
            chain.pop()
        chain.append(p)
    return chain


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
