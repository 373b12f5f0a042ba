"""Softmax over a map of logits and the expected position and Jacobian under it."""

from eamfmeg_fast.kernels.soft_argmax.reference import soft_argmax

__all__ = ["soft_argmax"]
