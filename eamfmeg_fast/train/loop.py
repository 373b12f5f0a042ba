"""The training loop: deterministic from its seed, resumable to the step."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from eamfmeg_fast.config import preset
from eamfmeg_fast.errors import EamfmegError, OptionError
from eamfmeg_fast.network import Network, build_network
from eamfmeg_fast.train import checkpoint
from eamfmeg_fast.train.card import publish
from eamfmeg_fast.train.feed import Batch, feed
from eamfmeg_fast.train.log import Log
from eamfmeg_fast.train.objective import Objective
from eamfmeg_fast.train.options import Stage, TrainOptions
from eamfmeg_fast.train.perceptual import perceptual_loss
from eamfmeg_fast.weights import WeightsInfo

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every step with the step, the number of steps and the losses."""

_CLIP = 5.0
_MOMENTUM = 0.02
"""Of the running statistics: batches are small, and what they leave behind is what runs later."""


class TrainingDiverged(EamfmegError):
    """A loss stopped being a number."""

    exit_code = 4


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        network: in evaluation mode. steps: done so far; total: of all stages.
        weights: the file written into the run's folder, with its model card.
    """

    network: Network
    steps: int
    total: int
    weights: WeightsInfo


def run(options: TrainOptions, progress: Progress | None = None) -> Trained:
    """Train, resuming from the checkpoint in `options.out` if there is one; weights are written at every end.

    Returns:
        The network and how far it came (less than all steps when `minutes` ran out).

    Raises:
        OptionError: a preset whose pixel grid is not the lab's. WeightsError: the checkpoint is of another run.
        TrainingDiverged: a loss is not finite.
    """
    if preset(options.preset).pixel_grid != "centres":
        raise OptionError(
            f"preset {options.preset!r}", "one on the lab's pixel grid, like small", "Published networks are converted."
        )
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    network = _fresh(options.preset)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    perceptual = perceptual_loss(options.vgg19)
    optimiser = torch.optim.Adam(_groups(network), lr=1e-3, betas=(0.9, 0.999))
    trainer = _Trainer(options, network, optimiser, Objective(network, options.weights, perceptual), progress)
    with Log(options.out, note=f"reconstruction: {perceptual.description}", start=trainer.start) as log:
        steps = trainer.run(log)
    weights = publish(network.eval(), options, steps, perceptual.description)
    return Trained(network, steps, trainer.total, weights)


class _Trainer:
    def __init__(
        self,
        options: TrainOptions,
        network: Network,
        optimiser: torch.optim.Adam,
        objective: Objective,
        progress: Progress | None,
    ) -> None:
        self.options, self.network, self.optimiser = options, network, optimiser
        self.objective, self.progress = objective, progress
        self.path, self.signature = options.out / "checkpoint.safetensors", signature(options)
        self.total = sum(stage.steps for stage in options.stages)
        self.deadline = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
        self.start = 0
        if self.path.exists():
            self.start = checkpoint.restore(self.path, network, optimiser, self.signature)

    def run(self, log: Log) -> int:
        offset = 0
        for stage in self.options.stages:
            if self.start < offset + stage.steps:
                reached = self._stage(stage, offset, max(0, self.start - offset), log)
                if reached < offset + stage.steps:
                    return reached
            offset += stage.steps
        return self.total

    def _stage(self, stage: Stage, offset: int, begin: int, log: Log) -> int:
        step = offset + begin
        for batch in feed(self.options, stage, offset, begin):
            log.write(step, self._step(batch, stage, step, step - offset))
            step += 1
            stop = time.monotonic() > self.deadline
            if stop or step % self.options.save_every == 0 or step == offset + stage.steps:
                checkpoint.save(self.path, self.network, self.optimiser, step, self.signature)
            if stop:
                break
        return step

    def _step(self, batch: Batch, stage: Stage, step: int, within: int) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            factor = stage.front_rate if group["part"] == "front" and stage.parts == "all" else 1.0
            group["lr"] = stage.rate * factor * _schedule(within, stage.steps)
        self.optimiser.zero_grad(set_to_none=True)
        terms = self.objective(batch, stage, self.options.seed * 7919 + step)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            bad = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise TrainingDiverged(
                f"step {step}: {', '.join(bad)} is not finite", "numbers", "Lower the learning rate."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        values = {name: float(term.detach()) for name, term in terms.items()} | {"loss": float(loss.detach())}
        if self.progress is not None:
            self.progress(step + 1, self.total, values)
        return values


def _fresh(name: str) -> Network:
    network = build_network(name).train()
    # Channels last: a third less time a step on CPUs.
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def signature(options: TrainOptions) -> str:
    """A hash of the options that a checkpoint depends on."""
    relevant = {
        k: v for k, v in asdict(options).items() if k not in ("out", "minutes", "threads", "workers", "save_every")
    }
    return hashlib.sha256(json.dumps(relevant, default=str, sort_keys=True).encode()).hexdigest()[:16]


def _groups(network: Network) -> list[dict[str, object]]:
    front: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_front = name.startswith(("kp_detector.", "edge_predictor.", "generator.dense_motion_network."))
        (front if is_front else rest).append(parameter)
    return [{"params": front, "part": "front"}, {"params": rest, "part": "rest"}]


def _schedule(step: int, steps: int, warm: int = 30) -> float:
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / warm) * cosine
