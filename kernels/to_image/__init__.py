"""From the network's picture to 8-bit pixels."""

from eamfmeg_fast.kernels.to_image.reference import to_image

__all__ = ["to_image"]
