"""The slow reference: the network as published, in plain PyTorch, float32 or float64."""

from eamfmeg_fast.network.dense_motion import DenseMotion
from eamfmeg_fast.network.generator import Rendering
from eamfmeg_fast.network.keypoint_detector import Detection, Keypoints
from eamfmeg_fast.network.model import Network, build_network
from eamfmeg_fast.network.relative import move
from eamfmeg_fast.network.seeded import fill_seeded

__all__ = [
    "DenseMotion",
    "Detection",
    "Keypoints",
    "Network",
    "Rendering",
    "build_network",
    "fill_seeded",
    "move",
]
