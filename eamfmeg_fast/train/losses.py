"""The losses: FOMM's, the AEP edge loss, and what only a lab with known motion can ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.kernels.geometry import affine_ratio, displacement_px, identity_grid
from eamfmeg_fast.kernels.warp_occlude.reference import warp_cubic
from eamfmeg_fast.network import DenseMotion, Keypoints
from eamfmeg_fast.train.feed import Batch
from eamfmeg_fast.train.transform import RandomWarp

SIZE = 256
"""Pixels that losses named "px" are counted in, whatever size the pictures are rendered at."""


_DOUBT_PX, _DOUBT = 0.25, 0.2
"""A sparse motion wrong by so many px, plus so much of the picture's mean motion, is right in one of e cases."""


def pixels(normalised: Tensor) -> Tensor:
    """Differences of (x, y) in [-1, 1] as pixels of a 256-px picture."""
    return normalised * (SIZE / 2)


def landmarks(batch_px: Tensor, size: int, count: int) -> Tensor:
    """Landmark positions `[B, L, 2]` px as normalised coordinates of the first `count`, centres convention."""
    return (2 * batch_px[:, :count] + 1) / size - 1


def edge_loss(edges: Sequence[Tensor], batch: Batch) -> Tensor:
    """Mean squared error of both frames' edge maps on the lab faces (EAM-FMEG, section 3.2)."""
    first, second = edges
    # The lab's maps have 64 cells a side, those of a network for smaller pictures fewer.
    size = (first.shape[-2], first.shape[-1])
    truth = (F.adaptive_avg_pool2d(x[:, None], size)[:, 0] for x in (batch.first_edges, batch.second_edges))
    a, b = (F.mse_loss(got[: batch.faces], true) for got, true in zip((first, second), truth, strict=True))
    return (a + b) / 2


def seen_landmarks(batch: Batch, count: int) -> Tensor:
    """1 for landmarks inside both pictures, `[faces, count, 1]`: no detector can point outside, or follow what is."""
    size = batch.first.shape[-1]
    both = (batch.first_landmarks_px, batch.second_landmarks_px)
    inside = [(landmarks(px, size, count).abs() < 1).all(-1, keepdim=True) for px in both]
    return (inside[0] & inside[1]).to(batch.first.dtype)


def landmark_loss(first: Keypoints, second: Keypoints, batch: Batch) -> Tensor:
    """Mean L1 distance of keypoints and landmarks, normalised units."""
    size, count = batch.first.shape[-1], first.kp.shape[1]
    seen = seen_landmarks(batch, count)
    a = first.kp[: batch.faces] - landmarks(batch.first_landmarks_px, size, count)
    b = second.kp[: batch.faces] - landmarks(batch.second_landmarks_px, size, count)
    return ((a.abs() + b.abs()) * seen).sum() / (4 * seen.sum()).clamp(min=1)


def keypoint_motion_loss(first: Keypoints, second: Keypoints, batch: Batch) -> Tensor:
    """Error of keypoint displacement in px, relative to how far the face moved: small motion counts like large."""
    size, count = batch.first.shape[-1], first.kp.shape[1]
    true = batch.second_landmarks_px[:, :count] - batch.first_landmarks_px[:, :count]
    true = true * (SIZE / size)
    got = pixels(second.kp - first.kp)[: batch.faces]
    return _relative(got - true, true, seen_landmarks(batch, count))


def flow_truth(batch: Batch, height: int, width: int) -> tuple[Tensor, Tensor]:
    """True displacement in 256-px pixels `[B, h, w, 2]` and the share of valid pixels `[B, h, w]` in each cell."""
    size = batch.first.shape[-1]
    weight = batch.valid.float()[:, None]
    share = F.adaptive_avg_pool2d(weight, (height, width))
    way = F.adaptive_avg_pool2d(batch.displacement_px.permute(0, 3, 1, 2) * weight, (height, width))
    return (way / share.clamp(min=1e-3)).permute(0, 2, 3, 1) * (SIZE / size), share[:, 0]


def focused(true_px: Tensor, share: Tensor, strength: float) -> Tensor:
    """`share`, raised where a cell moves apart from the rest: a closing lid is two cells high and would not count.

    Convention:
        A cell that moves d times as far from the mean as cells do on average (30 at most) counts `1 + strength d`
        times, so that with strength 1 about half of all weight lies where something moves, however small it is.
    """
    mean = (true_px * share[..., None]).sum((1, 2), keepdim=True) / share.sum((1, 2))[:, None, None, None].clamp(min=1)
    apart = (true_px - mean).norm(dim=-1) * share
    average = apart.mean((1, 2), keepdim=True) + 0.05
    return share * (1 + strength * (apart / average).clamp(max=30))


def motion_loss(motion: DenseMotion, true_px: Tensor, share: Tensor, items: slice) -> Tensor:
    """Error of the flow in px over some items of the batch, relative to how far the picture moved; 0 for no items."""
    flow = motion.flow[items]
    if not len(flow):
        return flow.new_zeros(())
    got = displacement_px(flow, "centres", SIZE)
    return _relative(got - true_px[items], true_px[items], share[items, ..., None])


def mask_loss(motion: DenseMotion, grids: Tensor, true_px: Tensor, weight: Tensor, faces: int) -> Tensor:
    """How much of the masks lies, in each cell, on sparse motions that are wrong there (negative log likelihood).

    The masks share out the cells, so without it one that learned early to follow the head keeps every cell, and eyes
    stay open: a blended flow hardly gains from a small share of the right motion, its likelihood does. Where several
    sparse motions are right, any of them may be chosen: asking for all would teach the forehead to follow a mouth that
    happens to be still.

    Args:
        grids: the K + 1 sparse motions `[B, K + 1, h, w, 2]`. weight: of the cells, `[B, h, w]`.
    """
    batch, count, height, width, _ = grids[:faces].shape
    way = displacement_px(grids[:faces].flatten(0, 1), "centres", SIZE).view(batch, count, height, width, 2)
    error = (way - true_px[:faces, None]).norm(dim=-1).detach()
    length = true_px[:faces].norm(dim=-1).mean((1, 2))[:, None, None, None]
    chosen = motion.mask[:faces].clamp(min=1e-30).log()
    cost = -torch.logsumexp(chosen - error / (_DOUBT_PX + _DOUBT * length), dim=1)
    weight = weight[:faces]
    return ((cost * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).mean()


def true_gradient(true_px: Tensor, share: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the true backward motion at points, and how well it is known there.

    Where the truth is unknown its neighbours' counts: a lid's rim has none, and taken as 0 it would be a cliff.

    Args:
        true_px, share: as `flow_truth`. at: `[B, N, 2]`.

    Returns:
        d way / d (x, y), `[B, N, 2, 2]`, and the share of known cells around, `[B, N, 1]`.
    """
    height, width = true_px.shape[1:3]
    known = _blurred(share[:, None])
    way = _blurred(true_px.permute(0, 3, 1, 2) * share[:, None]) / (known.clamp(min=1e-3) * (SIZE / 2))
    dx = F.pad(way[..., 2:] - way[..., :-2], (1, 1, 0, 0), mode="replicate") * (width / 4)
    dy = F.pad(way[..., 2:, :] - way[..., :-2, :], (0, 0, 1, 1), mode="replicate") * (height / 4)
    # What is hardly known on one side of a cell has no slope there.
    least = -F.max_pool2d(-known, 3, stride=1, padding=1)
    maps = torch.cat([dx, dy, (least > 0.2).to(known.dtype)], dim=1)
    sampled = F.grid_sample(maps, at[:, :, None], align_corners=False, padding_mode="border")[..., 0]
    sampled = sampled.permute(0, 2, 1)
    return sampled[..., :4].unflatten(-1, (2, 2)).transpose(-1, -2), sampled[..., 4:]


def _blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def affine_loss(affine: Tensor, driving: Keypoints, true_px: Tensor, share: Tensor, faces: int) -> Tensor:
    """Error of the keypoints' matrices (`affine_of`, `[B, K, 2, 3]`) against the gradient of the true motion there."""
    true, known = true_gradient(true_px[:faces], share[:faces], driving.kp[:faces].detach())
    got = affine[:faces, ..., :2] - torch.eye(2, device=true.device)
    return _relative((got - true).flatten(2), true.flatten(2), known, floor=0.02)


def occlusion_loss(motion: DenseMotion, share: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross entropy of the occlusion with the share of pixels that can be copied; `weight` counts some cells more."""
    return F.binary_cross_entropy(motion.occlusion[:, 0].clamp(1e-4, 1 - 1e-4), share, weight=weight)


def carried(batch: Batch) -> Tensor:
    """What the generator shall draw, `[B, 3, S, S]`: the first picture moved along the true displacement where that is
    known, the second one elsewhere.

    The second picture alone would be the wrong lesson: its grain is not the first one's, so the best answer would be to
    smooth the target's skin.
    """
    size = batch.first.shape[-1]
    still = identity_grid(size, size, "centres", dtype=batch.first.dtype, device=batch.first.device)
    moved = warp_cubic(batch.first.permute(0, 2, 3, 1), still + batch.displacement_px * (2 / size))
    known = batch.valid[:, None]
    return torch.where(known, moved.permute(0, 3, 1, 2).clamp(0, 1), batch.second)


def equivariance_losses(found: Keypoints, warped: Keypoints, warp: RandomWarp) -> tuple[Tensor, Tensor]:
    """FOMM, equations 8 and 9: keypoints of a warped picture, mapped back, are those of the picture."""
    value = (found.kp - warp(warped.kp)).abs().mean()
    chained = warp.jacobian(warped.kp) @ warped.jacobian
    product = affine_ratio(chained, found.jacobian)
    identity = torch.eye(2, device=product.device)
    return value, (identity - product).abs().mean()


def _relative(error: Tensor, true: Tensor, weight: Tensor | None = None, floor: float = 0.5) -> Tensor:
    """Mean size of `error` over each item, divided by the rms of `true` plus a floor."""
    weight = torch.ones_like(error[..., :1]) if weight is None else weight
    dims = tuple(range(1, error.dim()))
    size = torch.sqrt((error**2).sum(-1, keepdim=True) + 1e-6)
    mean = (size * weight).sum(dims) / weight.sum(dims).clamp(min=1)
    scale = ((true**2).sum(-1, keepdim=True) * weight).sum(dims) / weight.sum(dims).clamp(min=1)
    return (mean / (scale.sqrt() + floor)).mean()
