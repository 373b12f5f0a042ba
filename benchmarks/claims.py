"""The two published claims, tried on four variants of one network trained alike: `python benchmarks/claims.py`.

The claims: "AEP lowers the reconstruction loss" and "EIMHSA improves the equivariance loss". The variants have the
geometry of `small` at 128 px. Those of one seed begin with the same weights, as far as they have the same parts, and
see the same pictures in the same order; all parts are trained from nothing, and nothing is processed afterwards
that would hide what a network does. Every finished run leaves a row in the state folder and is not run again, unless
its code has changed; pictures are rendered once for a seed and kept there, too. With the default
`--steps` twelve runs take about 40 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import claims_code
import claims_table
import torch
from facts import commit, machine
from safetensors.torch import load_file, save_file

from eamfmeg_fast.config import NetworkConfig, preset
from eamfmeg_fast.evaluate import score_lab, summary
from eamfmeg_fast.evaluate.record import tidy
from eamfmeg_fast.lab import sample_pairs
from eamfmeg_fast.network import Keypoints, Network, build_network
from eamfmeg_fast.retargeter import Retargeter
from eamfmeg_fast.train import losses
from eamfmeg_fast.train.feed import Batch, Feed
from eamfmeg_fast.train.objective import Objective
from eamfmeg_fast.train.options import LossWeights, Stage, TrainOptions
from eamfmeg_fast.train.perceptual import FixedPyramid
from eamfmeg_fast.train.transform import RandomWarp

ROOT = Path(__file__).parent.parent
STATE = ROOT / "runs" / "claims"
SIZE, BATCH, STEPS = 128, 8, 500
_MOMENTUM, _CLIP, _RATE, _WARM = 0.02, 5.0, 2e-3, 30
_PAIRS, _PEOPLE = 48, 3
_PICTURE_SHARE = 0.125

_PLAIN = replace(
    preset("small"), size=SIZE, edge=False, attention=None, still_px=0.0, relative_occlusion=False
)  # fmt: skip
VARIANTS: dict[str, NetworkConfig] = {
    "plain": _PLAIN,
    "aep": replace(_PLAIN, edge=True),
    "released": replace(_PLAIN, edge=True, attention="released"),
    "edge-query": replace(_PLAIN, edge=True, attention="edge-query"),
}
_PUBLISHED = ("reconstruction", "equivariance_value", "equivariance_jacobian", "edge")
LOSSES: dict[str, LossWeights] = {
    "lab": LossWeights(),
    # What the papers train with: nothing that only the lab knows about keypoints, masks and flow.
    "published": LossWeights(**{k: v if k in _PUBLISHED else 0.0 for k, v in vars(LossWeights()).items()}),
}


@dataclass(frozen=True)
class Settings:
    """What every run has in common; another setting, another state folder.

    Attributes:
        steps: of the optimiser. batch: pairs a step. losses: a name in `LOSSES`.
        pairs: held-out pairs on which the losses are measured. people: held-out people of `score_lab`.
    """

    steps: int = STEPS
    batch: int = BATCH
    losses: str = "lab"
    pairs: int = _PAIRS
    people: int = _PEOPLE

    @property
    def folder(self) -> str:
        """The name of its state."""
        return claims_code.digest(json.dumps(asdict(self), sort_keys=True) + claims_code.version(claims_code.RUNS))


class Kept:
    """The batches of one seed, rendered when first asked for and read from then on.

    Pictures are kept in 8 bits, like any picture, and displacements in half precision.
    """

    def __init__(self, folder: Path, seed: int, settings: Settings) -> None:
        options = TrainOptions(seed=seed, picture_share=_PICTURE_SHARE)
        self.folder = folder
        self.feed = Feed(options, Stage(settings.steps, settings.batch, SIZE, "all"), 0)

    def __getitem__(self, step: int) -> Batch:
        return _unpacked(load_file(self.render(step)))

    def render(self, step: int) -> Path:
        """The file of a batch, made if it is missing."""
        path = self.folder / f"{step:06d}.safetensors"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}.{os.getpid()}")
            save_file(_packed(self.feed[step]), aside)
            os.replace(aside, path)
        return path


def _packed(batch: Batch) -> dict[str, torch.Tensor]:
    cells = _PLAIN.map_size
    out = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    for name in ("first", "second"):
        out[name] = (out[name] * 255).round().byte()
        # The lab's edge maps have 64 cells a side, those of this size 32.
        edges = torch.nn.functional.adaptive_avg_pool2d(out[f"{name}_edges"], cells)
        out[f"{name}_edges"] = edges
    out["displacement_px"] = out["displacement_px"].half()
    return {name: value.contiguous() for name, value in out.items()}


def _unpacked(kept: dict[str, torch.Tensor]) -> Batch:
    for name in ("first", "second"):
        kept[name] = kept[name].float() / 255
    kept["displacement_px"] = kept["displacement_px"].float()
    return Batch(faces=len(kept["first_edges"]), **kept)


def train(config: NetworkConfig, seed: int, settings: Settings, batches: Kept) -> tuple[Network, dict[str, float]]:
    """A network trained from nothing, in evaluation mode, and its mean losses over the last tenth of the steps.

    Raises:
        ArithmeticError: the loss is no number any more.
    """
    torch.manual_seed(seed)
    network = build_network(config).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    objective = Objective(network, LOSSES[settings.losses], FixedPyramid())
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    stage = Stage(settings.steps, settings.batch, SIZE, "all")
    sums: dict[str, float] = {}
    last = max(1, settings.steps // 10)
    for step in range(settings.steps):
        cosine = 0.05 + 0.475 * (1 + math.cos(math.pi * step / settings.steps))
        optimiser.param_groups[0]["lr"] = _RATE * min(1.0, (step + 1) / _WARM) * cosine
        optimiser.zero_grad(set_to_none=True)
        terms = objective(batches[step], stage, seed * 7919 + step)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise ArithmeticError(f"seed {seed}, step {step}: the loss is {float(loss)}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimiser.step()
        if step >= settings.steps - last:
            sums = {name: sums.get(name, 0.0) + float(term.detach()) / last for name, term in terms.items()}
    return network.eval(), sums


@torch.no_grad()
def held_out_losses(network: Network, pairs: int) -> dict[str, float]:
    """Unweighted losses in float32 on held-out people, the same for every network: reconstruction, equivariance."""
    pyramid, sums = (
        FixedPyramid(),
        dict.fromkeys(("reconstruction", "equivariance_value", "equivariance_jacobian"), 0.0),
    )
    chunk = min(8, pairs)
    for k in range(pairs // chunk):
        lab = sample_pairs(chunk, size=network.config.size, seed=k, split="held_out", motion="mixed")
        batch = Batch(faces=chunk, **{part.name: getattr(lab, part.name) for part in fields(Batch)[1:]})
        seen = network.kp_detector(torch.cat([batch.first, batch.second]))
        first, second = (Keypoints(*pair) for pair in zip(*(x.chunk(2) for x in seen.keypoints), strict=True))
        edges, thumbnail = network.edges(seen.features), network.kp_detector.down(batch.first)
        motion = network.motion(thumbnail, first, second)
        mine = None if edges is None else edges[:chunk]
        drawn = network.render(batch.first, network.generator.encode(batch.first), mine, motion)
        warp = RandomWarp(chunk, torch.Generator().manual_seed(k))
        small = network.kp_detector.down(batch.second)
        moved = torch.nn.functional.grid_sample(
            small, warp.grid(*small.shape[2:]), align_corners=False, padding_mode="reflection"
        )
        value, jacobian = losses.equivariance_losses(second, network.kp_detector.detect_small(moved).keypoints, warp)
        found = (pyramid(drawn.prediction, losses.carried(batch)), value, jacobian)
        for name, loss in zip(sums, found, strict=True):
            sums[name] += float(loss) / (pairs // chunk)
    return sums


def one_run(variant: str, seed: int, settings: Settings, state: Path) -> dict[str, Any]:
    """Train and score one variant, keep its row, return it; a run that was done before is read."""
    path = _row_path(variant, seed, settings, state)
    if path.exists():
        return dict(json.loads(path.read_text()))
    torch.set_num_threads(1)
    made_by, begin = commit(), time.process_time()
    batches = Kept(state / _pictures(seed, settings), seed, settings)
    network, training = train(VARIANTS[variant], seed, settings, batches)
    trained = time.process_time() - begin
    retargeter = Retargeter(network, device="cpu", precision="fp32")
    figures = held_out_losses(network, settings.pairs) | summary(list(score_lab(retargeter, settings.people)))
    row = {"variant": variant, "seed": seed, "commit": made_by, "cpu_s": trained, "training": training}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(tidy(row | {"figures": figures})))
    os.replace(aside, path)
    return dict(json.loads(path.read_text()))


def _pictures(seed: int, settings: Settings) -> str:
    return f"pictures-{seed}-{settings.batch}-{claims_code.version(claims_code.PICTURES)}"


def _row_path(variant: str, seed: int, settings: Settings, state: Path) -> Path:
    return state / settings.folder / f"{variant}-{seed}.json"


def _render(job: tuple[int, Settings, Path, range]) -> None:
    seed, settings, state, steps = job
    torch.set_num_threads(1)
    batches = Kept(state / _pictures(seed, settings), seed, settings)
    for step in steps:
        batches.render(step)


def _run(job: tuple[str, int, Settings, Path, float]) -> dict[str, Any] | None:
    variant, seed, settings, state, deadline = job
    done = _row_path(variant, seed, settings, state).exists()
    return one_run(variant, seed, settings, state) if done or time.time() < deadline else None


def all_runs(
    seeds: int, settings: Settings, state: Path, minutes: float = 0.0, processes: int = 2
) -> Iterator[dict[str, Any]]:
    """The rows of all variants and seeds, seed by seed; after `minutes` no further run is begun."""
    deadline = time.time() + 60 * minutes if minutes else math.inf
    # Threads of one process would share PyTorch's pool; and a forked PyTorch may hang.
    with multiprocessing.get_context("spawn").Pool(processes) if processes > 1 else nullcontext() as pool:
        for seed in range(1, seeds + 1):
            missing = [v for v in VARIANTS if not _row_path(v, seed, settings, state).exists()]
            if pool is not None and missing and time.time() < deadline:
                # Before the runs: two that begin together would otherwise both render every batch.
                pool.map(
                    _render, [(seed, settings, state, range(k, settings.steps, processes)) for k in range(processes)]
                )
            jobs = [(variant, seed, settings, state, deadline) for variant in VARIANTS]
            rows = map(_run, jobs) if pool is None else pool.imap(_run, jobs)
            yield from (row for row in rows if row is not None)


def main() -> None:
    """Run what is missing, save the rows, write the figure and the text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--losses", choices=LOSSES, default="lab", help="with the lab's truth, or the published ones")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no further run after so long; 0: never stop")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of finished runs and rendered pictures")
    parser.add_argument("--out", type=Path, help="another results file; figure and READMEs then stay as they are")
    options = parser.parse_args()
    settings = Settings(options.steps, losses=options.losses)
    facts = {"machine": machine(), "settings": asdict(settings), "wanted": options.seeds}
    rows: list[dict[str, Any]] = []
    for row in all_runs(options.seeds, settings, options.state, options.minutes, options.processes):
        rows.append(row)
        print(f"{row['variant']:12} seed {row['seed']}: {row['figures']}", flush=True)
    result = facts | {"rows": rows}
    (options.out or claims_table.results(options.losses)).write_text(json.dumps(result, indent=1) + "\n")
    print(claims_table.text(result))
    if options.out is None:
        claims_table.write(result)
    if len(rows) == options.seeds * len(VARIANTS):
        for seed in range(1, options.seeds + 1):
            shutil.rmtree(options.state / _pictures(seed, settings), ignore_errors=True)


if __name__ == "__main__":
    main()
