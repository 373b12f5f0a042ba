"""The CPU backend: oneDNN's convolutions where they are at the machine's limit, our own kernels where they are not."""

from eamfmeg_fast.engine.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
