"""What the rivals need on disk: the scene, the target's part, and the network exported, converted, quantised.

`python -m baselines.kit FOLDER NETWORK ARTEFACT` makes one artefact, in a process of its own: exporting takes memory
and threads that must not be in the process that is timed. Nothing here imports torch before it is needed: a runtime
that can do without is measured without.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eamfmeg_fast.engine import Parameters
    from eamfmeg_fast.evaluate.scene import Scene
    from eamfmeg_fast.network import Network

WEIGHTS = "weights.safetensors"
_OPSET = 16
_CALIBRATION = 24


@dataclass(frozen=True)
class Kit:
    """A folder of one network at one size.

    Attributes:
        folder: of the files. spec: which network, see `network_of`.
    """

    folder: Path
    spec: str

    def network(self) -> Network:
        """The network itself, float32."""
        return network_of(self.spec)

    def parameters(self) -> Parameters:
        """The weights as the engine reads them: from a file, one by one, with activation scales."""
        from eamfmeg_fast.engine import NetworkParameters
        from eamfmeg_fast.weights import StoredWeights

        path = self.path(WEIGHTS)
        return StoredWeights(path) if path.exists() else NetworkParameters(self.network())

    def scene(self) -> Scene:
        """Target and driving frames."""
        from eamfmeg_fast.evaluate.scene import load_scene

        return load_scene(self.folder / "scene.npz")

    def frames(self) -> np.ndarray:
        """The driving frames alone, uint8 `[N, S, S, 3]`."""
        with np.load(self.folder / "scene.npz") as kept:
            return kept["frames"]

    def target(self) -> np.ndarray:
        """The target picture alone, uint8 `[S, S, 3]`."""
        with np.load(self.folder / "scene.npz") as kept:
            return kept["target"]

    def first(self) -> np.ndarray:
        """The first driving frame, uint8 `[S, S, 3]`; the others are not read, so that they count in no memory."""
        with zipfile.ZipFile(self.folder / "scene.npz") as kept, kept.open("frames.npy") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            size = dtype.itemsize * math.prod(shape[1:])
            return np.frombuffer(file.read(size), dtype).reshape(shape[1:]).copy()

    def inputs(self, name: str = "frame") -> dict[str, np.ndarray]:
        """The target's part of a graph's inputs, by name: "frame", "front" or "back"."""
        with np.load(self.folder / f"{name}_inputs.npz") as kept:
            return {key: kept[key] for key in kept.files}

    def path(self, artefact: str) -> Path:
        """Where an artefact is or will be."""
        return self.folder / artefact


def network_of(spec: str) -> Network:
    """A network by name: a preset with seeded weights, shipped weights or a file; "fomm@512" for another size."""
    from eamfmeg_fast.config import PRESETS
    from eamfmeg_fast.network import build_network, fill_seeded
    from eamfmeg_fast.weights import load_network, pretrained_names

    name, _, size = spec.partition("@")
    if name in PRESETS and name not in pretrained_names():
        network = fill_seeded(build_network(name))
    else:
        network, _ = load_network(name)
    return resized(network, int(size)) if size else network


def resized(network: Network, size: int) -> Network:
    """The same weights for pictures of another size."""
    from dataclasses import replace

    from eamfmeg_fast.network import build_network

    other = build_network(replace(network.config, size=size))
    other.load_state_dict(network.state_dict())
    return other


def save_parameters(kit: Kit) -> None:
    """The weights of a preset in a file of ours, with activation scales for int8; other sizes have no preset."""
    from eamfmeg_fast.evaluate.calibration import measure_scales
    from eamfmeg_fast.weights import save_network

    network = kit.network()
    save_network(network, kit.path(WEIGHTS), activation_scales=measure_scales(network))


def picture(frame: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` as float32 `[1, 3, H, W]` in [0, 1]: what the rivals are handed."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def make_inputs(kit: Kit) -> None:
    """The target's part, for whoever takes it as an input."""
    from baselines.graph import FRONT, target_inputs

    scene, network = kit.scene(), kit.network()
    found = target_inputs(network, scene.target, scene.frames[0])
    np.savez(kit.path("frame_inputs.npz"), **found)
    np.savez(kit.path("front_inputs.npz"), **{name: found[name] for name in FRONT})
    np.savez(kit.path("back_inputs.npz"), **{name: x for name, x in found.items() if name not in FRONT})


def export_onnx(kit: Kit) -> None:
    """frame.onnx, front.onnx and back.onnx."""
    import torch

    from baselines.graph import build

    whole = build(kit.network())
    driving = torch.from_numpy(picture(kit.frames()[-1]))
    target = {name: torch.from_numpy(x) for name, x in kit.inputs().items()}
    front, back = kit.inputs("front"), kit.inputs("back")
    with torch.no_grad():
        _, flow, occlusion = whole.front(driving, *(target[name] for name in front))
    graphs = {
        "frame": (whole, {"driving": driving, **target}, ["prediction", "kp"]),
        "front": (whole.front, {"driving": driving, **{n: target[n] for n in front}}, ["kp", "flow", "occlusion"]),
        "back": (whole.back, {"flow": flow, "occlusion": occlusion, **{n: target[n] for n in back}}, ["prediction"]),
    }
    for name, (module, inputs, outputs) in graphs.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                kit.path(f"{name}.onnx"),
                input_names=list(inputs),
                output_names=outputs,
                opset_version=_OPSET,
                dynamo=False,
            )


def convert_mnn(kit: Kit) -> None:
    """frame.mnn. By the compiled converter itself: its command installs a package and reports to its makers."""
    import _tools

    paths = ["--modelFile", str(kit.path("frame.onnx")), "--MNNModel", str(kit.path("frame.mnn"))]
    if not _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *paths, "--bizCode", "bench"]):
        raise RuntimeError("the converter refused the graph")


def quantise(kit: Kit) -> None:
    """back.xml: the decoder in int8, calibrated after training on frames of the lab."""
    # Without it every call is reported to the makers.
    os.environ["NNCF_CI"] = "1"
    import nncf
    import openvino

    from baselines.with_openvino import compiled

    front = compiled(kit, "front.onnx", "f32", 2)
    constant = kit.inputs("back")

    def samples() -> Iterator[dict[str, np.ndarray]]:
        frames = kit.frames()
        for number in np.unique(np.linspace(0, len(frames) - 1, _CALIBRATION).astype(int)):
            found = front({"driving": picture(frames[number])})
            yield {"flow": found["flow"].copy(), "occlusion": found["occlusion"].copy(), **constant}

    model = openvino.Core().read_model(kit.path("back.onnx"))
    quantised = nncf.quantize(model, nncf.Dataset(list(samples())), subset_size=_CALIBRATION)
    openvino.save_model(quantised, kit.path("back.xml"), compress_to_fp16=False)


MAKERS: dict[str, Callable[[Kit], None]] = {
    WEIGHTS: save_parameters,
    "frame_inputs.npz": make_inputs,
    "frame.onnx": export_onnx,
    "front.onnx": export_onnx,
    "back.onnx": export_onnx,
    "frame.mnn": convert_mnn,
    "back.xml": quantise,
}


if __name__ == "__main__":
    MAKERS[sys.argv[3]](Kit(Path(sys.argv[1]), sys.argv[2]))
