"""What a training run is: everything that its result depends on, in one record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


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
        batch: pairs of frames per step.
        size: of the rendered pictures in pixels; the front alone can learn from half the size.
        parts: "front" (detector, edge head, dense motion) or "all".
        rate: Adam's learning rate at the start; it falls to a twentieth along a cosine.
        front_rate: factor on the front's rate while all parts learn.
        spots: up to so many moles are painted on each pair.
        focus: how much more cells count in the losses of motion, masks and occlusion that move apart from the rest.
        taught: share of lab faces in which the dense motion is told the true keypoints.
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


SMALL_RECIPE = (
    Stage(steps=2600, batch=12, size=128, parts="front", rate=2e-3),
    Stage(steps=1400, batch=4, size=256, parts="all", rate=1e-3, front_rate=0.2, spots=10),
    Stage(steps=600, batch=4, size=256, parts="all", rate=6e-4, front_rate=1.0, spots=10, focus=2.0),
)


@dataclass(frozen=True)
class TrainOptions:
    """A training run.

    Attributes:
        preset: the network. out: folder of the run (checkpoint, log, result).
        stages: in order. seed: of weights, data and augmentation.
        picture_share: share of each batch made of warped pictures of things instead of lab faces.
        vgg19: safetensors with VGG19's features, or None for the fixed pyramid.
        save_every: steps between checkpoints. minutes: stop (resumably) after so long; 0 is never.
        threads: of the arithmetic; None leaves PyTorch's choice. workers: processes that render.
    """

    preset: str = "small"
    out: Path = Path("runs/small")
    stages: tuple[Stage, ...] = SMALL_RECIPE
    seed: int = 1
    picture_share: float = 0.17
    weights: LossWeights = field(default_factory=LossWeights)
    vgg19: Path | None = None
    save_every: int = 50
    minutes: float = 0.0
    threads: int | None = None
    workers: int = 1
