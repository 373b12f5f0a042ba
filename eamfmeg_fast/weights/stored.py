"""Weights that stay in their file and are read tensor by tensor, so that memory never holds all of them twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from eamfmeg_fast.config import PRESETS, NetworkConfig
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights.header import quoted
from eamfmeg_fast.weights.reader import open_tensors
from eamfmeg_fast.weights.report import WeightsInfo
from eamfmeg_fast.weights.shapes import is_regenerated
from eamfmeg_fast.weights.store import check_weights, load_network, resolve


class StoredWeights:
    """One weights file, checked as a whole when it is opened: names, shapes, types, finite values, hash.

    Args:
        name_or_path: one of `pretrained_names()` or a `.safetensors` file, which must stay as it is meanwhile.

    Raises:
        WeightsError: as `load_network`.
    """

    def __init__(self, name_or_path: str | Path) -> None:
        self._path = resolve(name_or_path)
        self.info: WeightsInfo = check_weights(self._path)

    @property
    def config(self) -> NetworkConfig:
        """The preset's."""
        return PRESETS[self.info.preset]

    @property
    def scales(self) -> Mapping[str, float] | None:
        """What one step of a byte stands for in the input of a convolution; None: never measured."""
        return self.info.activation_scales

    def tensor(self, name: str) -> Tensor:
        """One tensor, float32 on the CPU; a view into the mapped file where that holds float32.

        Raises:
            WeightsError: the file was changed, or does not hold such a tensor (the network makes some itself).
        """
        if is_regenerated(name):
            raise WeightsError(f"tensor {quoted(name)}", "one that is read from files", "The network makes it itself.")
        with open_tensors(self._path) as get:
            return get(name).to(torch.float32)

    def network(self) -> Network:
        """The whole network, float32, in evaluation mode.

        Raises:
            WeightsError: the file has been replaced by another since it was opened.
        """
        network, info = load_network(self._path)
        if info.content_sha256 != self.info.content_sha256:
            raise WeightsError(f"{quoted(self._path)} has been replaced since it was opened", "", "Open it again.")
        return network
