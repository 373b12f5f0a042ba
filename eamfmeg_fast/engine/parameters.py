"""Where an engine takes its weights from: one tensor after the other, so that no second copy of all is ever held."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.network import Network


class Parameters(Protocol):
    """The weights of one network, by the names of its state dict."""

    @property
    def config(self) -> NetworkConfig:
        """What fixes the network's shapes and arithmetic."""

    @property
    def scales(self) -> Mapping[str, float] | None:
        """What one step of a byte stands for in the input of a convolution, by its name; None: never measured."""

    def tensor(self, name: str) -> Tensor:
        """One tensor in float32 on the CPU; the caller does not change it."""

    def network(self) -> Network:
        """The whole network, float32, in evaluation mode; made when it is asked for."""


class Adjusted:
    """The same weights under a configuration that differs in what no shape depends on.

    Args:
        changes: fields of `NetworkConfig`.

    Raises:
        OptionError: a value that means nothing.
    """

    def __init__(self, parameters: Parameters, **changes: Any) -> None:
        self._parameters, self.config = parameters, replace(parameters.config, **changes)

    @property
    def scales(self) -> Mapping[str, float] | None:
        """The weights' own."""
        return self._parameters.scales

    def tensor(self, name: str) -> Tensor:
        """The weights' own."""
        return self._parameters.tensor(name)

    def network(self) -> Network:
        """A shallow copy of the network, which itself keeps its configuration; the tensors are shared."""
        network = copy.copy(self._parameters.network())
        network.config = self.config
        return network


class NetworkParameters:
    """The weights of a network that is in memory already, as they are when the engine reads them.

    Args:
        scales: as `Parameters.scales`; `evaluate.measure_scales` makes them.
    """

    def __init__(self, network: Network, scales: Mapping[str, float] | None = None) -> None:
        self._network, self.scales = network.eval(), scales
        self._tensors = dict(network.state_dict())

    @property
    def config(self) -> NetworkConfig:
        """The network's."""
        return self._network.config

    def tensor(self, name: str) -> Tensor:
        """The network's own memory where it is float32 on the CPU."""
        return self._tensors[name].detach().to("cpu", torch.float32)

    def network(self) -> Network:
        """The network itself."""
        return self._network
