"""True keypoints for the dense motion, so that it learns beside the detector and not after it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.train import losses
from eamfmeg_fast.train.feed import Batch

_PLACE_PX = 1.5
_MOTION_PX = 0.05
"""Deviations of what is told from the truth: a detector is never exact, but its errors are much the same twice."""


def taught(
    first: Keypoints, second: Keypoints, batch: Batch, truth: tuple[Tensor, Tensor], part: float, seed: int
) -> tuple[Keypoints, Keypoints]:
    """What the dense motion is told: found keypoints, in about `part` of the lab faces replaced by true ones.

    The true matrices are the gradients of the true motion at the driving landmarks. What is outside the picture, or
    where the motion is not known, stays as it was found.

    Args:
        first, second: keypoints found in target and driving pictures. truth: as `losses.flow_truth`.
        part: 0 to 1. seed: of which faces, and of small errors.
    """
    true_px, share = truth
    generator = torch.Generator().manual_seed(seed)
    size, count, faces = batch.first.shape[-1], first.kp.shape[1], batch.faces
    places, motions = (torch.randn(faces, count, 2, generator=generator) for _ in range(2))
    told = (torch.rand(faces, generator=generator) < part).to(first.kp.device)[:, None, None]
    blur, shake = (2 / losses.SIZE * px for px in (_PLACE_PX, _MOTION_PX))
    error = blur * places.to(first.kp)
    target = losses.landmarks(batch.first_landmarks_px, size, count) + error
    driving = losses.landmarks(batch.second_landmarks_px, size, count)
    eye = torch.eye(2, device=target.device)
    gradient, known = losses.true_gradient(true_px[:faces], share[:faces], driving)
    told = told & (losses.seen_landmarks(batch, count) > 0) & (known > 0.5)
    matrix = eye + gradient
    driving = driving + error + shake * motions.to(first.kp)
    return (
        _replaced(first, Keypoints(target, matrix), told),
        _replaced(second, Keypoints(driving, eye.expand_as(matrix)), told),
    )


def _replaced(found: Keypoints, true: Keypoints, told: Tensor) -> Keypoints:
    faces = len(told)
    kp = torch.where(told, true.kp, found.kp[:faces])
    jacobian = torch.where(told[..., None], true.jacobian, found.jacobian[:faces])
    return Keypoints(torch.cat([kp, found.kp[faces:]]), torch.cat([jacobian, found.jacobian[faces:]]))
