"""The two parts of a network that learn at their own pace: the front, which finds the motion, and the decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from eamfmeg_fast.config import NetworkConfig
from eamfmeg_fast.network import Network, build_network
from eamfmeg_fast.train.options import PARTS
from eamfmeg_fast.train.rounding import trimmed

_FRONT = ("kp_detector.", "edge_predictor.", "generator.dense_motion_network.")
_MOMENTUM = 0.02
"""Of the running statistics: batches are small, and what they leave behind is what runs later."""


def part_of(name: str) -> str:
    """ "front" (detector, edge head, dense motion) or "decoder" (the rest), by the name of a parameter or module."""
    return "front" if f"{name}.".startswith(_FRONT) else "decoder"


def parameters_of(network: Network, part: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters of a part."""
    return (item for item in network.named_parameters() if part_of(item[0]) == part)


def fresh_network(config: NetworkConfig, device: torch.device) -> Network:
    """An untrained network in training mode, its weights in the form that training keeps them in."""
    network = build_network(config).to(device)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    trim(network)
    # Channels last: a third less time a step on CPUs.
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network.train()


def trim(network: Network) -> None:
    """Round every weight to the form that checkpoints hold."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(trimmed(parameter.detach().float().contiguous()))


def set_learning(network: Network, parts: str) -> None:
    """Let a stage's parts learn; the others keep their weights and, a frozen front, its batch-norm statistics."""
    learning = PARTS[parts]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(part_of(name) in learning)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(part_of(name) in learning)
