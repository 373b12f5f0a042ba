"""Bilinear warp of a feature map along a flow, times the occlusion."""

from eamfmeg_fast.kernels.warp_occlude.reference import warp, warp_cubic, warp_occlude

__all__ = ["warp", "warp_cubic", "warp_occlude"]
