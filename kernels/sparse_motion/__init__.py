"""What the dense-motion hourglass sees: heatmap differences and thumbnails warped by each keypoint's motion."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_exact, check_positive, check_rank, check_shape, describe
from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.geometry import PixelGrid
from eamfmeg_fast.kernels.registration import operator
from eamfmeg_fast.kernels.sparse_motion import native, samples
from eamfmeg_fast.kernels.sparse_motion import reference as plain
from eamfmeg_fast.kernels.sparse_motion.reference import heatmap_difference, sparse_grids

__all__ = ["OP", "heatmap_difference", "sparse_grids", "sparse_motion"]


def sparse_motion(
    thumbnail: Tensor,
    kp_target: Tensor,
    kp_driving: Tensor,
    affine: Tensor,
    variance: float,
    pixel_grid: PixelGrid = "corners",
    align_corners: bool = False,
) -> Tensor:
    """The hourglass input: for each motion its heatmap difference and the thumbnail warped by it.

    Convention:
        affine maps a driving pixel to the target coordinate its content comes from, (x, y) in [-1, 1]. Pixels stand on
        `pixel_grid`; the thumbnail is sampled bilinearly, zeros outside, as in `warp_occlude`, and a sample with a
        non-finite coordinate counts as outside. Motion 0 is the background: identity, heatmap zero.

    Args:
        thumbnail: `[B, H, W, 3]` float32 or float64, the target's, any strides.
        kp_target, kp_driving: `[B, K, 2]`, the same type.
        affine: `[B, K, 2, 3]` from `geometry.affine_of`, the same type.
        variance: of the Gaussians, above zero.

    Returns:
        `[B, H, W, 4 (K + 1)]`, contiguous; channels of motion k: heatmap, red, green, blue. Differentiable.

    Raises:
        ShapeError: another number of axes, shapes that do not match, no pixels or no keypoints.
        DtypeError: another type.
        OptionError: a variance that is not above zero, or an unknown grid.
    """
    _check_sizes(thumbnail, kp_target, kp_driving, affine)
    check_exact("thumbnail", thumbnail)
    for name, x in (("kp_target", kp_target), ("kp_driving", kp_driving), ("affine", affine)):
        check_exact(name, x, thumbnail)
    check_positive("variance", variance)
    check_choice("pixel_grid", pixel_grid, PIXEL_GRID)
    return torch.ops.eamfmeg.sparse_motion(
        thumbnail, kp_target, kp_driving, affine, variance, pixel_grid, align_corners
    )


def _check_sizes(thumbnail: Tensor, kp_target: Tensor, kp_driving: Tensor, affine: Tensor) -> None:
    check_rank("thumbnail", thumbnail, "BHWC")
    check_rank("kp_target", kp_target, "BKX")
    batch, height, width, _ = thumbnail.shape
    if not (height and width):
        raise ShapeError(f"thumbnail is {describe(thumbnail)}", "at least one pixel")
    if not kp_target.shape[1]:
        raise ShapeError(f"kp_target is {describe(kp_target)}", "at least one keypoint")
    check_shape("thumbnail", thumbnail, (batch, height, width, 3), "red, green and blue")
    check_shape("kp_target", kp_target, (batch, kp_target.shape[1], 2), "the thumbnail")
    check_shape("kp_driving", kp_driving, tuple(kp_target.shape), "kp_target")
    check_shape("affine", affine, (*kp_target.shape[:2], 2, 3), "kp_target")


def _fake(
    thumbnail: Tensor,
    kp_target: Tensor,
    kp_driving: Tensor,
    affine: Tensor,
    variance: float,
    pixel_grid: str,
    align_corners: bool,
) -> Tensor:
    return thumbnail.new_empty(*thumbnail.shape[:3], 4 * (kp_target.shape[1] + 1))


def _takes(thumbnail: Tensor, *others: object) -> bool:
    # A grid of blocks has at most 65535 along the axis that the batch takes; the framed picture is addressed by ints.
    batch, height, width = thumbnail.shape[:3]
    return thumbnail.dtype == torch.float32 and batch < 1 << 16 and height * width < 1 << 30


OP = operator(
    "sparse_motion(Tensor thumbnail, Tensor kp_target, Tensor kp_driving, Tensor affine, float variance,"
    " str pixel_grid, bool align_corners) -> Tensor",
    public=sparse_motion,
    reference=plain.sparse_motion,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.sparse_motion_cpu,
)
