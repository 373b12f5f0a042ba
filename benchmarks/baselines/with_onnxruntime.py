"""ONNX Runtime in float32."""

from __future__ import annotations

import numpy as np
import onnxruntime

from baselines import Frame
from baselines.kit import Kit


def build(kit: Kit, threads: int) -> Frame:
    """See the package."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(kit.path("frame.onnx")), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, value in kit.inputs().items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for output in session.get_outputs():
        binding.bind_output(output.name)

    def frame(driving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        binding.bind_cpu_input("driving", driving)
        session.run_with_iobinding(binding)
        prediction, kp = binding.copy_outputs_to_cpu()
        return prediction, kp

    return frame
