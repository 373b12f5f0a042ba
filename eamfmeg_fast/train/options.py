"""What a training run is: everything that its result depends on, in one record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eamfmeg_fast.config import PRESETS, NetworkConfig, preset
from eamfmeg_fast.errors import OptionError

PARTS = {"front": ("front",), "decoder": ("decoder",), "all": ("front", "decoder")}
"""What learns, by `Stage.parts`."""
_LATER = ("gain", "adapt_scale", "still_px")
"""What only matters once a network is trained."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses.

    Attributes:
        reconstruction: pyramid perceptual loss (FOMM: 10 at each of four scales).
        equivariance_value, equivariance_jacobian: of keypoints under a known warp (FOMM: 10).
        edge: of the edge head, both frames (EAM-FMEG: 10).
        landmark: keypoints against the lab's landmarks; no published system has this truth.
        motion: flow against the lab's displacement, pixels.
        keypoint_motion: keypoint displacement against the landmarks' displacement, pixels.
        mask: masks against the sparse motions that are right.
        affine: each keypoint's affine motion against the local gradient of the true one.
        occlusion: occlusion against the lab's validity mask.
        things: factor on the motion loss of pictures of things, which no facial keypoint can follow well.
    """

    reconstruction: float = 10.0
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0
    edge: float = 10.0
    landmark: float = 20.0
    motion: float = 4.0
    keypoint_motion: float = 4.0
    mask: float = 1.0
    affine: float = 3.0
    occlusion: float = 0.5
    things: float = 0.25


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    Attributes:
        steps: optimiser steps.
        batch: pairs of frames per micro-batch; a step takes `TrainOptions.accumulate` of them.
        size: of the rendered pictures in pixels; the front alone can learn from half the size.
        parts: "front" (detector, edge head, dense motion), "decoder" (the rest; the front keeps its weights and its
            batch-norm statistics) or "all".
        rate: Adam's learning rate at the start; it falls to a twentieth along a cosine.
        front_rate: factor on the front's rate while all parts learn.
        spots: up to so many moles are painted on each pair.
        focus: how much more cells count in the losses of motion, masks and occlusion that move apart from the rest.
        taught: share of lab faces in which the dense motion is told the true keypoints.
        things: with `TrainOptions.picture_share` of things; they teach the decoder texture, and the front little.
    """

    steps: int
    batch: int
    size: int
    parts: str
    rate: float = 2e-3
    front_rate: float = 1.0
    spots: int = 0
    focus: float = 0.0
    taught: float = 0.0
    things: bool = True


FRONT = (
    Stage(steps=2600, batch=8, size=128, parts="front", rate=2e-3, spots=10, focus=1.0, taught=0.7, things=False),
    Stage(steps=1600, batch=8, size=128, parts="front", rate=1e-3, spots=10, focus=1.0, things=False),
)
"""Where motion is: pictures of half the size are enough, and the true keypoints let both halves of it learn at once."""

BASE_RECIPE = (*FRONT, Stage(steps=1200, batch=4, size=256, parts="decoder", rate=2e-3, spots=10))
SMALL_RECIPE = (Stage(steps=700, batch=4, size=256, parts="decoder", rate=2e-3, spots=10),)
"""`small` takes over the front of `base`: the motion is the same, only the drawing is quicker."""


@dataclass(frozen=True)
class TrainOptions:
    """A training run; `RECIPES` has a whole one for every preset that is trained here.

    Attributes:
        preset: the network. out: folder of the run (checkpoint, log, result).
        stages: in order. seed: of weights, data, augmentation and rounding.
        picture_share: share of each batch made of warped pictures of things instead of lab faces.
        weights: of the losses. vgg19: safetensors with VGG19's features, or None for the fixed pyramid.
        accumulate: micro-batches per step, whose gradients are averaged. Batch norm sees them one by one, its running
            statistics follow each. Several processes share them out, so their number divides it.
        config: the network, where it is not the preset's own; it cannot be published then.
        start_from: a weights file (or the name of shipped weights) to begin with; of another preset whose front has the
            same shapes, the front alone.
        save_every: steps between checkpoints. minutes: stop (resumably) after so long; 0 is never.
        threads: of the arithmetic; None leaves PyTorch's choice.
        workers: processes that render; on CUDA the device renders, between the steps.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        publish: write the weights file at the end. scales: and measure the scales of precision int8 for it.
    """

    preset: str = "base"
    out: Path = Path("runs/base")
    stages: tuple[Stage, ...] = BASE_RECIPE
    seed: int = 1
    picture_share: float = 0.17
    weights: LossWeights = field(default_factory=LossWeights)
    vgg19: Path | None = None
    accumulate: int = 1
    config: NetworkConfig | None = None
    start_from: str | Path | None = None
    save_every: int = 50
    minutes: float = 0.0
    threads: int | None = None
    workers: int = 1
    device: str = "auto"
    publish: bool = True
    scales: bool = True

    @property
    def network(self) -> NetworkConfig:
        """The configuration that is trained.

        Raises:
            OptionError: no such preset.
        """
        return preset(self.preset) if self.config is None else self.config

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


RECIPES: dict[str, TrainOptions] = {
    "small": TrainOptions(
        preset="small",
        out=Path("runs/small"),
        stages=SMALL_RECIPE,
        seed=1,
        picture_share=0.17,
        weights=LossWeights(),
        accumulate=1,
        start_from="base",
    ),
    "base": TrainOptions(
        preset="base",
        out=Path("runs/base"),
        stages=BASE_RECIPE,
        seed=1,
        picture_share=0.17,
        weights=LossWeights(),
        accumulate=1,
    ),
}
"""What the next weights are trained by; a shipped file's card has its own recipe."""


def check_options(options: TrainOptions) -> None:
    """Refuse what cannot be trained.

    Raises:
        OptionError: names the first thing that is wrong.
    """
    config = options.network
    if config.pixel_grid != "centres":
        raise OptionError(
            f"preset {config.preset!r}", "one on the lab's pixel grid, like small", "Published networks are converted."
        )
    if options.publish and PRESETS.get(config.preset) != config:
        raise OptionError(
            f"a variant of preset {config.preset!r} to publish",
            "the preset itself",
            "Set publish=False; the trained network is returned, and load_checkpoint reads it again.",
        )
    for name, least in {"accumulate": 1, "save_every": 1, "minutes": 0, "workers": 0}.items():
        if not getattr(options, name) >= least:
            raise OptionError(f"{name}={getattr(options, name)}", f"at least {least}")
    for stage in options.stages:
        if stage.parts not in PARTS:
            raise OptionError(f"a stage that trains {stage.parts!r}", f"one of {', '.join(PARTS)}")
        if stage.steps < 1 or stage.batch < 1:
            raise OptionError(f"a stage of {stage.steps} steps and {stage.batch} pairs", "at least one of each")
        if stage.parts != "front" and stage.size != config.size:
            got = f"a stage that draws pictures of {stage.size} px"
            raise OptionError(got, f"the network's {config.size}", "Change the stage's size.")


def recipe(options: TrainOptions, started_from: str | None = None) -> dict[str, Any]:
    """Everything that the result of a run depends on, as plain values; `started_from` is that file's content hash."""
    network = {name: value for name, value in asdict(options.network).items() if name not in _LATER}
    return {
        "network": network,
        "stages": [asdict(stage) for stage in options.stages],
        "seed": options.seed,
        "accumulate": options.accumulate,
        "picture_share": options.picture_share,
        "loss_weights": asdict(options.weights),
        "vgg19": None if options.vgg19 is None else options.vgg19.name,
        "started_from": started_from,
    }


def signature(options: TrainOptions, started_from: str | None = None) -> str:
    """A hash of `recipe`: a checkpoint belongs to it."""
    text = json.dumps(recipe(options, started_from), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
