"""Other ways to run the same network: what a user could do without this engine.

Every module here has one function, `build(kit, threads, **options)`, which returns one driving frame as a function:
picture float32 `[1, 3, H, W]` in [0, 1] -> prediction `[1, 3, H, W]` and the driving keypoints `[1, K, 2]`, both
NumPy. What depends on the target alone is computed before (except by `torch upstream loop`), and what a user does once
and keeps (exporting, converting, quantising) is in the kit.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from baselines.kit import Kit

Frame = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Rival:
    """One way to run the network.

    Attributes:
        module: which has `build`. options: for it.
        needs: packages that must be importable. artefacts: what the kit must hold, in the order of making.
    """

    module: str
    options: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def build(self, kit: Kit, threads: int) -> Frame:
        """One frame as a function."""
        return importlib.import_module(f"baselines.{self.module}").build(kit, threads, **self.options)


_INT8 = ("onnx", "openvino", "nncf")
YARDSTICK = "torch eager NCHW"
"""Ratios are against this one."""

RIVALS: dict[str, Rival] = {
    "torch upstream loop": Rival("with_torch", {"upstream": True}),
    YARDSTICK: Rival("with_torch"),
    "torch eager channels_last": Rival("with_torch", {"channels_last": True}),
    "torch bf16 autocast": Rival("with_torch", {"channels_last": True, "bf16": True}),
    "torch.compile fp32": Rival("with_torch", {"channels_last": True, "compiled": True}),
    "torch.compile bf16 autocast": Rival("with_torch", {"channels_last": True, "compiled": True, "bf16": True}),
    "ONNX Runtime fp32": Rival("with_onnxruntime", {}, ("onnx", "onnxruntime"), ("frame.onnx",)),
    "MNN fp32": Rival("with_mnn", {}, ("onnx", "MNN"), ("frame.onnx", "frame.mnn")),
    "OpenVINO fp32": Rival("with_openvino", {"front": "f32"}, ("onnx", "openvino"), ("frame.onnx",)),
    "OpenVINO bf16": Rival("with_openvino", {"front": "bf16"}, ("onnx", "openvino"), ("frame.onnx",)),
    "OpenVINO front fp32, decoder bf16": Rival(
        "with_openvino", {"front": "f32", "back": "back.onnx"}, ("onnx", "openvino"), ("front.onnx", "back.onnx")
    ),
    "OpenVINO front fp32, decoder int8": Rival(
        "with_openvino", {"front": "f32", "back": "back.xml"}, _INT8, ("front.onnx", "back.onnx", "back.xml")
    ),
}
