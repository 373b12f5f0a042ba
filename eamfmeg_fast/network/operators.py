"""Which implementation of the operators a network computes with: the references, unless it is switched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from eamfmeg_fast.kernels.antialias_down.reference import antialias_down
from eamfmeg_fast.kernels.dense_motion.reference import dense_motion
from eamfmeg_fast.kernels.registry import in_room, operators
from eamfmeg_fast.kernels.soft_argmax.reference import soft_argmax
from eamfmeg_fast.kernels.sparse_motion.reference import sparse_motion
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv
from eamfmeg_fast.kernels.warp_occlude.reference import warp_occlude


@dataclass(frozen=True)
class Operators:
    """The operators of one network, by name.

    Attributes:
        edge_attention: None: the network projects and attends after the warp, as published; otherwise the maps are
            projected first and the operator gathers them along the flow.
    """

    antialias_down: Callable[..., Tensor] = antialias_down
    soft_argmax: Callable[..., tuple[Tensor, Tensor]] = soft_argmax
    sparse_motion: Callable[..., Tensor] = sparse_motion
    dense_motion: Callable[..., tuple[Tensor, Tensor, Tensor]] = dense_motion
    warp_occlude: Callable[..., Tensor] = warp_occlude
    upsample_conv: Callable[..., Tensor] = upsample_conv
    edge_attention: Callable[..., Tensor] | None = None


REFERENCE = Operators()


class Operated(nn.Module):
    """A module that computes with operators which can be switched."""

    operators: Operators = REFERENCE


def switch(network: nn.Module, chosen: Operators) -> None:
    """Let every module of `network` compute with `chosen` from now on."""
    for module in network.modules():
        if isinstance(module, Operated):
            module.operators = chosen


def of_room(room: str, **switches: Any) -> Operators:
    """All operators from one room ("cpu", "cuda" or "triton"); what it does not take goes to the reference.

    Args:
        switches: for the rooms, as in `kernels.registry.in_room`.
    """
    known = operators()
    chosen: dict[str, Any] = {f.name: in_room(known[f.name], room, **switches) for f in fields(Operators)}
    return Operators(**chosen)
