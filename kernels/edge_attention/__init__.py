"""Edge-intensified multi-head self-attention (EIMHSA) over strips of rows."""

from eamfmeg_fast.kernels.edge_attention.reference import strip_attention

__all__ = ["strip_attention"]
