"""Nearest-neighbour doubling followed by a 3x3 convolution."""

from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv

__all__ = ["upsample_conv"]
