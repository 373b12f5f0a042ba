"""The CUDA backend: cuDNN's convolutions, our kernels around them, and the whole step in one graph."""

from eamfmeg_fast.engine.cuda.backend import CudaBackend

__all__ = ["CudaBackend"]
