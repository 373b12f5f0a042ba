"""OpenVINO: one model, or the front (keypoints and motion) in float32 and the decoder in less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino

from baselines import Frame
from baselines.kit import Kit


def build(kit: Kit, threads: int, *, front: str, back: str = "") -> Frame:
    """See the package."""
    if not back:
        whole = compiled(kit, "frame.onnx", front, threads)

        def one(driving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = whole({"driving": driving})
            return found["prediction"], found["kp"]

        return one
    first, second = compiled(kit, "front.onnx", front, threads), compiled(kit, back, "bf16", threads)

    def two(driving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = first({"driving": driving})
        drawn = second({"flow": found["flow"], "occlusion": found["occlusion"]})
        return drawn["prediction"], found["kp"]

    return two


def compiled(
    kit: Kit, artefact: str, precision: str, threads: int
) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """A model that holds the target's part and is handed the rest; what it returns is valid until the next call."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": True,
    }
    model = openvino.Core().compile_model(str(kit.path(artefact)), "CPU", settings)
    request = model.create_infer_request()
    held = []
    for name, value in kit.inputs(artefact.split(".")[0]).items():
        held.append(openvino.Tensor(value, shared_memory=True))
        request.set_tensor(name, held[-1])
    names = [output.get_any_name() for output in model.outputs]

    def call(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        alive = {name: openvino.Tensor(np.ascontiguousarray(x), shared_memory=True) for name, x in inputs.items()}
        for name, tensor in alive.items():
            request.set_tensor(name, tensor)
        request.infer()
        return {name: request.get_tensor(name).data for name in names}

    # The tensors share the arrays' memory: they live as long as the request.
    call.held = held  # type: ignore[attr-defined]
    return call
