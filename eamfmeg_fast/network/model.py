"""The whole network: detector, edge head, generator, attention."""

from __future__ import annotations

from torch import Tensor, nn

from eamfmeg_fast.config import NetworkConfig, preset
from eamfmeg_fast.network.attention import EdgeAttention
from eamfmeg_fast.network.dense_motion import DenseMotion
from eamfmeg_fast.network.generator import OcclusionAwareGenerator, Rendering
from eamfmeg_fast.network.keypoint_detector import EdgePredictor, Keypoints, KPDetector


class Network(nn.Module):
    """One network of the family; keys of its state dict are `<part>.<upstream key>`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = OcclusionAwareGenerator(config)
        self.kp_detector = KPDetector(config)
        self.edge_predictor = EdgePredictor(self.kp_detector.predictor.out_filters) if config.edge else None
        self.attention_module = EdgeAttention(config, self.generator.features) if config.attention else None

    def edges(self, features: Tensor) -> Tensor | None:
        """The edge map `[B, h, w]` of a picture whose detector features are given; None for a preset without edges."""
        return None if self.edge_predictor is None else self.edge_predictor(features)

    def render(
        self,
        picture: Tensor,
        features: Tensor,
        edge_map: Tensor | None,
        motion: DenseMotion,
        grain: Tensor | None = None,
        rest: Tensor | None = None,
    ) -> Rendering:
        """The target `[B, 3, H, W]`, encoded as `features`, moved by `motion`; see the generator."""
        return self.generator.render(picture, features, edge_map, motion, self.attention_module, grain, rest)

    def motion(self, thumbnail: Tensor, target: Keypoints, driving: Keypoints) -> DenseMotion:
        """The dense motion from the target's keypoints to `driving`."""
        return self.generator.dense_motion_network(thumbnail, target, driving)


def build_network(config: NetworkConfig | str) -> Network:
    """An untrained network of a preset or configuration, in evaluation mode.

    Raises:
        OptionError: no such preset.
    """
    return Network(preset(config) if isinstance(config, str) else config).eval()
