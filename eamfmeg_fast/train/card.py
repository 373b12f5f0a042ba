"""What a trained network says of itself: the model card inside the weights file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import torch

from eamfmeg_fast.network import Network
from eamfmeg_fast.train.options import TrainOptions, recipe
from eamfmeg_fast.train.pictures import PICTURES
from eamfmeg_fast.train.ranks import Ranks
from eamfmeg_fast.weights import WeightsInfo, save_network

_LIMITS = (
    "Made for frontal faces that fill most of a 256x256 crop and for brief, small movements. It has never seen a real "
    "face: only people of the lab, with blinks, glances, creases, glasses, beards, encoder loss and turns of the head "
    "up to 15 degrees. What the target picture does not show is guessed: teeth behind lips that part, the iris of an "
    "eye that opens, wrinkles. Gaze is followed roughly, if at all. Movements under beards, glasses and hair come out "
    "weaker or are missed; movements far larger than a micro-expression are cut short. No profiles."
)
_INTENDED = (
    "Research on micro-expressions (labelled clips where real ones are rare) and animation, with pictures of people "
    "who agreed to it. Results carry a machine-readable synthetic mark."
)
_MISUSE = (
    "Passing results off as recordings, showing a person doing what they did not do without their consent, or drawing "
    "conclusions about what a person feels. It is no evidence of anybody's emotion."
)


@dataclass(frozen=True)
class Account:
    """What a run came to.

    Attributes:
        steps: that were done, of `total`. seconds: of training. pictures: that the network saw.
        machine: its class. reconstruction: which distance between pictures it learned from.
        started_from: content hash of the weights that it began with, if any.
    """

    steps: int
    total: int
    seconds: float
    pictures: int
    machine: str
    reconstruction: str
    started_from: str | None = None


def machine_class(ranks: Ranks) -> str:
    """What a run computes on, without the name of any machine."""
    cores = f"{os.cpu_count()} CPU cores"
    if ranks.device.type == "cuda":
        device = f"{torch.cuda.get_device_name(ranks.device)}, {cores}"
        return f"{ranks.count} x {device}" if ranks.count > 1 else device
    return f"{cores}, {ranks.count} processes" if ranks.count > 1 else cores


def model_card(options: TrainOptions, account: Account) -> dict[str, Any]:
    """Training data, recipe, effort, limits and use, as plain values."""
    made_by = recipe(options, account.started_from)
    return {
        "name": f"eamfmeg_fast {options.network.preset}",
        "licence": "MIT",
        "trained_on": "procedural faces of eamfmeg_fast.lab (identities of its training seeds) and, warped at random, "
        f"scikit-image's pictures {', '.join(PICTURES)}; nobody's face",
        "held_out": "lab identities of the held-out seeds; the astronaut",
        "reconstruction": account.reconstruction,
        "steps": account.steps,
        "steps_of_recipe": account.total,
        "pictures_seen": account.pictures,
        "hours": float(f"{account.seconds / 3600:.3g}"),
        "machine": account.machine,
        **{key: value for key, value in made_by.items() if key not in ("network", "vgg19")},
        "limits": _LIMITS,
        "intended_use": _INTENDED,
        "misuse": _MISUSE,
        "patent": "The method is patented: US 12,482,295 B2.",
    }


def publish(network: Network, options: TrainOptions, account: Account, scales: bool) -> WeightsInfo:
    """Write `<preset>.safetensors` (float16, batch-norm statistics float32) with its card into the run's folder.

    Args:
        network: in evaluation mode, on the CPU.
        scales: also measure what precision int8 needs on people of the lab and store it in the file.
    """
    path = options.out / f"{options.network.preset}.safetensors"
    aside = options.out / f".{options.network.preset}.new.safetensors"
    aside.unlink(missing_ok=True)
    info = save_network(network, aside, dtype=torch.float16, card=model_card(options, account))
    if scales:
        from eamfmeg_fast.evaluate import calibrate

        info = calibrate(aside)
    os.replace(aside, path)
    return replace(info, path=path)
