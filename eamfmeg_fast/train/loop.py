"""The training loop: deterministic from its seed, resumable to the step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from eamfmeg_fast.errors import EamfmegError, WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.train import checkpoint
from eamfmeg_fast.train.adam import ShortAdam
from eamfmeg_fast.train.card import Account, machine_class, publish
from eamfmeg_fast.train.delivery import micro_batches, share
from eamfmeg_fast.train.feed import Batch
from eamfmeg_fast.train.log import Log
from eamfmeg_fast.train.objective import Objective
from eamfmeg_fast.train.options import PARTS, Stage, TrainOptions, check_options, recipe, signature
from eamfmeg_fast.train.parts import fresh_network, part_of, set_learning, trim
from eamfmeg_fast.train.perceptual import perceptual_loss
from eamfmeg_fast.train.ranks import Ranks, joined_ranks
from eamfmeg_fast.train.stopping import Stop
from eamfmeg_fast.weights import WeightsInfo, load_network

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every step with the step, the number of steps and the losses."""

CHECKPOINT = "checkpoint"
"""Folder of the checkpoint in the run's folder."""

_CLIP = 5.0


class TrainingDiverged(EamfmegError):
    """A loss stopped being a number."""

    exit_code = 4


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        network: in evaluation mode, on the CPU. steps: done so far; total: of all stages.
        weights: the file written into the run's folder, with its model card; None where none was to be written, and in
            all processes but the first.
        told: a signal ended it.
    """

    network: Network
    steps: int
    total: int
    weights: WeightsInfo | None
    told: bool = False


def run(options: TrainOptions, progress: Progress | None = None) -> Trained:
    """Train, resuming from the checkpoint in `options.out` if there is one; weights are written at every end.

    The clock, Ctrl-C and SIGTERM end it after the step that is under way, with a checkpoint. On CPUs a run that was
    ended and went on gives the same bits as one that was not; on CUDA sums of gradients are not ordered. Under torchrun
    every process calls this, and the first one writes.

    Returns:
        The network and how far it came (less than all steps when it was ended early).

    Raises:
        OptionError: what cannot be trained, or too large for a checkpoint. BackendError: no such device.
        WeightsError: the checkpoint is damaged or of another run, or `start_from` of another network.
        TrainingDiverged: a loss is not finite.
    """
    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    with joined_ranks(options.device) as ranks, _full_float32(), Stop(options.minutes) as stop:
        trainer = _Trainer(options, ranks, stop, progress)
        account = trainer.run()
        network = trainer.network.eval().requires_grad_(True).cpu()
        weights = None
        if options.publish and ranks.writes:
            # Whoever sends a signal will not wait for a measurement.
            weights = publish(network, options, account, options.scales and not stop.told)
        ranks.wait()
        return Trained(network, account.steps, account.total, weights, stop.told)


class _Trainer:
    def __init__(self, options: TrainOptions, ranks: Ranks, stop: Stop, progress: Progress | None) -> None:
        self.options, self.ranks, self.stop, self.progress = options, ranks, stop, progress
        self.share = share(options.accumulate, ranks)
        torch.manual_seed(options.seed)
        self.network = fresh_network(options.network, ranks.device)
        checkpoint.stored_bytes(self.network)
        self.started_from = _start(self.network, options)
        self.perceptual = perceptual_loss(options.vgg19).to(ranks.device)
        self.objective = Objective(self.network, options.weights, self.perceptual)
        self.optimiser = ShortAdam(self.network, options.seed)
        self.folder = options.out / CHECKPOINT
        self.position = checkpoint.Position(0, signature(options, self.started_from))
        if checkpoint.exists(self.folder):
            self.position = checkpoint.load_checkpoint(
                self.folder, self.network, self.optimiser, self.position.signature
            )
        self.saved = self.position.step

    def run(self) -> Account:
        """Train to the end or until it is time to stop."""
        options, start = self.options, self.position.step
        note = f"reconstruction: {self.perceptual.description}"
        if not self.ranks.writes:
            self._stages(None)
            return self._account()
        options.out.mkdir(parents=True, exist_ok=True)
        with Log(options.out, note, start, recipe(options, self.started_from)) as log:
            self._stages(log)
            account = self._account()
            log.summarise(
                {
                    "steps": account.steps,
                    "of": account.total,
                    "hours": float(f"{account.seconds / 3600:.3g}"),
                    "pictures": account.pictures,
                    "machine": account.machine,
                    "stages": [[stage.parts, stage.size, stage.steps] for stage in options.stages],
                }
            )
        return account

    def _account(self) -> Account:
        at = self.position
        machine, description = machine_class(self.ranks), self.perceptual.description
        return Account(at.step, self.options.steps, at.seconds, at.pictures, machine, description, self.started_from)

    def _stages(self, log: Log | None) -> None:
        offset = 0
        for stage in self.options.stages:
            if self.position.step < offset + stage.steps and not self._stage(stage, offset, log):
                return
            offset += stage.steps

    def _stage(self, stage: Stage, offset: int, log: Log | None) -> bool:
        """Whether the stage came to its end."""
        set_learning(self.network, stage.parts)
        begin, end = self.position.step - offset, offset + stage.steps
        batches = micro_batches(self.options, stage, offset, begin, self.ranks)
        for step in range(self.position.step, end):
            since = time.monotonic()
            values, pictures, rate = self._step(batches, stage, step, step - offset)
            seconds = time.monotonic() - since
            at = self.position
            self.position = checkpoint.Position(step + 1, at.signature, at.seconds + seconds, at.pictures + pictures)
            if log is not None:
                log.write(step, values, {"rate": rate, "pictures_per_s": pictures / seconds})
            if self.progress is not None:
                self.progress(step + 1, self.options.steps, values)
            stop = self.ranks.any(self.stop.due)
            if stop or (step + 1) % self.options.save_every == 0 or step + 1 == end:
                self._save()
            if stop:
                return False
        return True

    def _save(self) -> None:
        if self.ranks.writes and self.position.step != self.saved:
            checkpoint.save_checkpoint(self.folder, self.network, self.optimiser, self.position)
        self.saved = self.position.step

    def _step(
        self, batches: Iterator[Batch], stage: Stage, step: int, within: int
    ) -> tuple[dict[str, float], int, float]:
        """Losses of the step, how many pictures it saw in all processes, and the learning rate."""
        self.optimiser.forget_gradients()
        many, pictures = self.options.accumulate, 0
        sums: dict[str, Tensor] = {}
        for k, batch in enumerate(islice(batches, self.share)):
            number = step * many + self.ranks.rank + k * self.ranks.count
            terms = self.objective(batch, stage, self.options.seed * 7919 + number)
            (torch.stack(list(terms.values())).sum() / many).backward()
            pictures += 2 * len(batch.first)
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() / many
        values = dict(zip(sums, self.ranks.total(torch.stack(list(sums.values()))).tolist(), strict=True))
        self._check(step, values)
        rate = stage.rate * _schedule(within, stage.steps)
        rates = {"decoder": rate, "front": rate * (stage.front_rate if stage.parts == "all" else 1.0)}
        gradients = {part: self.ranks.total(self.optimiser.parts[part].gradient()) for part in PARTS[stage.parts]}
        length = self.optimiser.step(gradients, rates, _CLIP)
        self._check(step, {"the gradient": length})
        self._share_statistics()
        return values | {"loss": sum(values.values())}, pictures * self.ranks.count, rate

    def _check(self, step: int, values: dict[str, float]) -> None:
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise TrainingDiverged(
                f"step {step}: {', '.join(bad)} is not finite", "numbers", "Lower the learning rate."
            )

    def _share_statistics(self) -> None:
        """Batch norm's running statistics become the mean of all processes'."""
        if self.ranks.count == 1:
            return
        running = [b for name, b in self.network.named_buffers() if name.endswith(("running_mean", "running_var"))]
        mean = self.ranks.total(torch.cat(running)) / self.ranks.count
        for buffer, values in zip(running, mean.split([len(b) for b in running]), strict=True):
            buffer.copy_(values)


def _start(network: Network, options: TrainOptions) -> str | None:
    """Take over the weights of `start_from`, or of a network that is the same in front only; their content hash."""
    if options.start_from is None:
        return None
    earlier, info = load_network(options.start_from)
    taken = earlier.state_dict()
    if earlier.config != network.config:
        taken = {name: value for name, value in taken.items() if part_of(name) == "front"}
    own = network.state_dict()
    if any(name not in own or own[name].shape != value.shape for name, value in taken.items()):
        raise WeightsError(
            f"{options.start_from} is of preset {info.preset}",
            f"weights whose front has the shapes of {options.network.preset}",
            "Start from weights of the network that is trained.",
        )
    network.load_state_dict(own | taken)
    trim(network)
    return info.content_sha256


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Keypoints and flow need all of float32: no TF32 on CUDA."""
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


def _schedule(step: int, steps: int, warm: int = 30) -> float:
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / warm) * cosine
