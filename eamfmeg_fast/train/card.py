"""What a trained network says of itself: the model card inside the weights file."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Any

import torch

from eamfmeg_fast.network import Network
from eamfmeg_fast.train.options import TrainOptions
from eamfmeg_fast.train.pictures import PICTURES
from eamfmeg_fast.weights import WeightsInfo, save_network

_LIMITS = (
    "Made for frontal faces that fill most of a 256x256 crop and for brief, small movements. It has never seen a real "
    "face: expect it to miss movements under beards and glasses, of profiles, and of anything but brows, lids, nose "
    "and mouth. New texture (an opening mouth, wrinkles) is guessed."
)


def model_card(options: TrainOptions, steps: int, reconstruction: str) -> dict[str, Any]:
    """Training data, recipe and limits, as plain values.

    Args:
        options: of the run. steps: that were done. reconstruction: which distance between pictures it learned from.
    """
    return {
        "name": f"eamfmeg_fast {options.preset}",
        "licence": "MIT",
        "trained_on": "procedural faces of eamfmeg_fast.lab (identities of its training seeds) and, warped at random, "
        f"scikit-image's pictures {', '.join(PICTURES)}; nobody's face",
        "held_out": "lab identities of the held-out seeds; the astronaut",
        "reconstruction": reconstruction,
        "seed": options.seed,
        "steps": steps,
        "stages": [asdict(stage) for stage in options.stages],
        "loss_weights": asdict(options.weights),
        "picture_share": options.picture_share,
        "limits": _LIMITS,
        "patent": "The method is patented: US 12,482,295 B2.",
    }


def publish(network: Network, options: TrainOptions, steps: int, reconstruction: str) -> WeightsInfo:
    """Write `<preset>.safetensors` (float16, batch-norm statistics float32) with its card into the run's folder."""
    path = options.out / f"{options.preset}.safetensors"
    aside = options.out / f".{options.preset}.new.safetensors"
    aside.unlink(missing_ok=True)
    info = save_network(network, aside, dtype=torch.float16, card=model_card(options, steps, reconstruction))
    os.replace(aside, path)
    return replace(info, path=path)
