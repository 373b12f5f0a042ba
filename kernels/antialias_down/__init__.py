"""Antialiased reduction of a picture to the thumbnail that keypoints and motion are computed on."""

from eamfmeg_fast.kernels.antialias_down.reference import antialias_down, gaussian_kernel

__all__ = ["antialias_down", "gaussian_kernel"]
