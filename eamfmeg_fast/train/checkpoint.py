"""Training checkpoints: weights, moments and the step, in one safetensors file that is replaced whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.network import Network

_FIX = "Delete it to start again, or resume with the options it was made with."


def save(path: Path, network: Network, optimiser: torch.optim.Adam, step: int, signature: str) -> None:
    """Write the state after `step` steps; `signature` names the options that it belongs to."""
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        state = optimiser.state.get(parameter)
        if state:
            tensors |= {f"{m}.{name}": state[m].contiguous() for m in ("exp_avg", "exp_avg_sq", "step")}
    aside = path.with_name(f".{path.name}.part")
    save_file(tensors, aside, metadata={"step": str(step), "signature": signature})
    os.replace(aside, path)


def restore(path: Path, network: Network, optimiser: torch.optim.Adam, signature: str) -> int:
    """Load what `save` wrote; returns the step.

    Raises:
        WeightsError: the file is damaged or of a run with other options.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"checkpoint {path} cannot be read", "a whole file", _FIX) from error
    if metadata.get("signature") != signature:
        raise WeightsError(f"checkpoint {path} belongs to a run with other options", "the same", _FIX)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsError(f"checkpoint {path} holds another network", "this preset's", _FIX) from error
    _restore_moments(network, optimiser, tensors)
    return int(json.loads(metadata["step"]))


@torch.no_grad()
def _restore_moments(network: Network, optimiser: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        if f"exp_avg.{name}" in tensors:
            moments = {m: torch.empty_like(parameter).copy_(tensors[f"{m}.{name}"]) for m in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": tensors[f"step.{name}"], **moments}
