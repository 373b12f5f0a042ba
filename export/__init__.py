"""Where the network leaves PyTorch: ONNX graphs, TensorRT engines, compiled packages, and their parity check.

Nothing here yet. What comes reads `network` and `kernels`; the engine names an exported runtime by string and never
imports this package. This directory ships as `eamfmeg_fast.export`.
"""

if __name__ != "eamfmeg_fast.export":
    raise ImportError("this directory is the package 'eamfmeg_fast.export'; import it by that name")
