"""The operators of the network, one folder each.

Every folder has the same files: `__init__.py` (the public function and its registration), `reference.py` (plain
PyTorch, any precision), `native.py` (C++ and CUDA from csrc/), `triton_kernel.py` and `samples.py`. `identity` is the
one to copy. Layout is NHWC. This directory ships as `eamfmeg_fast.kernels`.
"""

# Under any other name each operator would be registered with PyTorch twice.
if __name__ != "eamfmeg_fast.kernels":
    raise ImportError("this directory is the package 'eamfmeg_fast.kernels'; import it by that name")
