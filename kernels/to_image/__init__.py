"""From the network's picture to 8-bit pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank
from eamfmeg_fast.kernels.registration import operator
from eamfmeg_fast.kernels.to_image import native, samples
from eamfmeg_fast.kernels.to_image import reference as plain

__all__ = ["OP", "to_image"]


def to_image(prediction: Tensor, from_logits: bool = False) -> Tensor:
    """Round a picture in [0, 1] to uint8, halves up; what lies outside [0, 1] is clamped, NaN is 0.

    Args:
        prediction: `[B, H, W, C]` or `[H, W, C]` floating point, any strides; fastest with whole pixels or whole
            planes side by side. 16-bit types are computed in float32.
        from_logits: take the sigmoid first.

    Returns:
        uint8 of the same shape, contiguous.

    Raises:
        ShapeError: another number of axes.
        DtypeError: another type.
    """
    check_rank("prediction", prediction, "BHWC", "HWC")
    check_dtype("prediction", prediction, FLOATS)
    return torch.ops.eamfmeg.to_image(prediction, from_logits)


def _fake(prediction: Tensor, from_logits: bool) -> Tensor:
    return prediction.new_empty(prediction.shape, dtype=torch.uint8)


def _takes(prediction: Tensor, from_logits: bool) -> bool:
    return prediction.dtype != torch.float64


OP = operator(
    "to_image(Tensor prediction, bool from_logits) -> Tensor",
    public=to_image,
    reference=plain.to_image,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.to_image_cpu,
    unrounded=plain.to_image_unrounded,
)
