"""Antialiased reduction of a picture to the thumbnail that keypoints and motion are computed on."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import OptionError, ShapeError
from eamfmeg_fast.kernels.antialias_down import native, samples
from eamfmeg_fast.kernels.antialias_down import reference as plain
from eamfmeg_fast.kernels.antialias_down.reference import gaussian_kernel
from eamfmeg_fast.kernels.checks import FLOATS, check_dtype, check_rank, describe
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "antialias_down", "gaussian_kernel"]


def antialias_down(picture: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Blur with `kernel` and keep every `stride`-th pixel; zeros outside.

    Convention:
        Output pixel i is centred at input pixel `stride * i` when k is odd (upstream's slicing), and at
        `stride * i + (stride - 1) / 2`, the middle of its block, when k is even.

    Args:
        picture: `[B, H, W, C]`, uint8 (divided by 255) or floating point (taken as it is), any strides; fastest with
            whole pixels or whole planes side by side.
        kernel: `[k, k]` floating point, applied to each channel alone; an even k goes with an even stride. Fastest
            when it is an outer product, as `gaussian_kernel` is.
        stride: reduction factor; H and W are multiples of it.

    Returns:
        `[B, H // stride, W // stride, C]` in the kernel's dtype, contiguous. Differentiable.

    Raises:
        ShapeError: another number of axes, a kernel that is not square, sides that are no multiples of `stride`.
        DtypeError: another type.
        OptionError: a stride below one, or an odd one with an even kernel.
    """
    check_rank("picture", picture, "BHWC")
    check_dtype("picture", picture, (*FLOATS, torch.uint8))
    check_rank("kernel", kernel, "kk")
    check_dtype("kernel", kernel, FLOATS)
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[0] == 0:
        raise ShapeError(f"kernel is {describe(kernel)}", "a square")
    if stride < 1 or (kernel.shape[0] % 2 == 0 and stride % 2):
        raise OptionError(f"stride is {stride}", "one or more, and an even one for an even kernel")
    batch, height, width, channels = picture.shape
    if height % stride or width % stride or not (height and width and channels):
        raise ShapeError(f"picture is {describe(picture)}", f"sides that are multiples of stride {stride}")
    return torch.ops.eamfmeg.antialias_down(picture, kernel, stride)


def _fake(picture: Tensor, kernel: Tensor, stride: int) -> Tensor:
    batch, height, width, channels = picture.shape
    return kernel.new_empty(batch, height // stride, width // stride, channels)


def _takes(picture: Tensor, kernel: Tensor, stride: int) -> bool:
    return kernel.dtype == torch.float32 and picture.dtype != torch.float64


OP = operator(
    "antialias_down(Tensor picture, Tensor kernel, int stride) -> Tensor",
    public=antialias_down,
    reference=plain.antialias_down,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.antialias_down_cpu,
)
