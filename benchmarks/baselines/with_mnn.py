"""MNN in float32, with the Winograd convolutions that it chooses itself."""

from __future__ import annotations

import MNN
import numpy as np

from baselines import Frame
from baselines.kit import Kit


def build(kit: Kit, threads: int) -> Frame:
    """See the package."""
    F = MNN.expr
    settings = {"backend": "CPU", "precision": "high", "memory": "normal", "power": "high", "numThread": threads}
    manager = MNN.nn.create_runtime_manager((settings,))
    target = kit.inputs()
    names = ["driving", *target]
    module = MNN.nn.load_module_from_file(
        str(kit.path("frame.mnn")), names, ["prediction", "kp"], runtime_manager=manager
    )
    held = [_variable(F, x) for x in target.values()]
    side = kit.frames().shape[1]
    driving_variable = F.placeholder([1, 3, side, side], F.NCHW)

    def frame(driving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        driving_variable.write(driving)
        prediction, kp = module.forward([driving_variable, *held])
        return F.convert(prediction, F.NCHW).read(), F.convert(kp, F.NCHW).read()

    return frame


def _variable(F: object, array: np.ndarray) -> object:
    variable = F.placeholder(list(array.shape), F.NCHW)
    variable.write(array)
    return variable
