"""Masks times sparse motions: the flow, and the occlusion beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_exact, check_rank, describe
from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.dense_motion import native, samples
from eamfmeg_fast.kernels.dense_motion.reference import dense_motion as dense_motion_reference
from eamfmeg_fast.kernels.geometry import PixelGrid
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "dense_motion"]

_MOST_MOTIONS = 64
_MOST_PIXELS = 1 << 30
_MOST_PICTURES = (1 << 16) - 1


def dense_motion(
    mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: PixelGrid = "corners"
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax masks over the motions, their weighted sum as flow, and the occlusion.

    Convention:
        Flow is the absolute sampling grid: at a driving pixel the target coordinate, (x, y) in [-1, 1];
        `z + sum_k m_k ((A_k - I) z + b_k)`, exactly z when nothing moves. `pixel_grid` says where z lies:
        "corners": the centres of the outer pixels are -1 and 1; "centres": their outer edges are.

    Args:
        mask_logits: `[B, H, W, K + 1]`, float32 or float64, any strides; motion 0 is the background.
        occlusion_logits: `[B, H, W]`, the same type; both may be parts of one tensor.
        affine: `[B, K, 2, 3]`, driving -> target, the same type.
        pixel_grid: as above.

    Returns:
        mask `[B, H, W, K + 1]`, flow `[B, H, W, 2]`, occlusion `[B, H, W]` (1: visible, 0: to be painted); contiguous,
        differentiable.

    Raises:
        ShapeError: another number of axes, or sizes that do not fit.
        DtypeError: another type; 16 bits would move keypoints by tenths of a pixel.
        OptionError: another `pixel_grid`.
    """
    check_rank("mask_logits", mask_logits, "BHWK")
    check_rank("affine", affine, "BKij")
    check_exact("affine", affine)
    check_exact("mask_logits", mask_logits, affine)
    check_exact("occlusion_logits", occlusion_logits, affine)
    batch, _, _, motions = mask_logits.shape
    if occlusion_logits.shape != mask_logits.shape[:3]:
        wanted = f"{list(mask_logits.shape[:3])}, one number for each pixel of mask_logits"
        raise ShapeError(f"occlusion_logits is {describe(occlusion_logits)}", wanted, "Drop its channel axis.")
    if motions < 2 or affine.shape != (batch, motions - 1, 2, 3):
        wanted = f"[{batch}, K, 2, 3] for K + 1 masks of {list(mask_logits.shape)}"
        raise ShapeError(f"affine is {describe(affine)}", wanted, "The background has a mask and no affine map.")
    check_choice("pixel_grid", pixel_grid, PIXEL_GRID)
    return torch.ops.eamfmeg.dense_motion(mask_logits, occlusion_logits, affine, pixel_grid)


def _fake(mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: str) -> tuple[Tensor, ...]:
    shape = mask_logits.shape
    return tuple(mask_logits.new_empty(size) for size in (shape, (*shape[:3], 2), shape[:3]))


def _takes(mask_logits: Tensor, occlusion_logits: Tensor, affine: Tensor, pixel_grid: str) -> bool:
    few = mask_logits.shape[0] <= _MOST_PICTURES and occlusion_logits.numel() <= _MOST_PIXELS
    small = few and mask_logits.shape[3] <= _MOST_MOTIONS + 1
    return small and mask_logits.dtype == torch.float32


OP = operator(
    "dense_motion(Tensor mask_logits, Tensor occlusion_logits, Tensor affine, str pixel_grid)"
    " -> (Tensor, Tensor, Tensor)",
    public=dense_motion,
    reference=dense_motion_reference,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.dense_motion_cpu,
    cuda=native.dense_motion_cuda,
)
