"""Masks times sparse motions: the flow, and the occlusion beside it."""

from eamfmeg_fast.kernels.dense_motion.reference import dense_motion

__all__ = ["dense_motion"]
