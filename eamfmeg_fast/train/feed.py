"""Batches for training: a pure function of the step, so that a resumed run sees what it would have seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eamfmeg_fast.lab import sample_pairs
from eamfmeg_fast.train.options import Stage, TrainOptions
from eamfmeg_fast.train.pictures import picture_pairs
from eamfmeg_fast.train.spots import add_spots


@dataclass(frozen=True)
class Batch:
    """B pairs; the first `faces` of them are lab faces, the rest pictures of things.

    Attributes:
        first, second: `[B, 3, S, S]` in [0, 1]. displacement_px: `[B, S, S, 2]`, second -> first.
        valid: `[B, S, S]`. first_edges, second_edges: `[faces, 64, 64]`.
        first_landmarks_px, second_landmarks_px: `[faces, L, 2]`.
    """

    faces: int
    first: Tensor
    second: Tensor
    displacement_px: Tensor
    valid: Tensor
    first_edges: Tensor
    second_edges: Tensor
    first_landmarks_px: Tensor
    second_landmarks_px: Tensor


class Feed(Dataset[Batch]):
    """Batch number `step` of a stage, on `device`."""

    def __init__(self, options: TrainOptions, stage: Stage, offset: int, device: torch.device | str = "cpu") -> None:
        self.options, self.stage, self.offset, self.device = options, stage, offset, device

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        seed = self.options.seed * 1_000_003 + self.offset + step
        things = round(self.stage.batch * self.options.picture_share) if self.stage.things else 0
        faces = self.stage.batch - things
        lab = sample_pairs(faces, size=self.stage.size, seed=seed, split="train", motion="mixed", device=self.device)
        shown = (lab.first, lab.second)
        if self.stage.spots:
            shown = add_spots(*shown, lab.displacement_px, most=self.stage.spots, seed=seed)
        extra = picture_pairs(things, self.stage.size, seed) if things else None

        def both(a: Tensor, index: int) -> Tensor:
            return a if extra is None else torch.cat([a, extra[index].to(a.device)])

        return Batch(
            faces=faces,
            first=both(shown[0], 0),
            second=both(shown[1], 1),
            displacement_px=both(lab.displacement_px, 2),
            valid=both(lab.valid, 3),
            first_edges=lab.first_edges,
            second_edges=lab.second_edges,
            first_landmarks_px=lab.first_landmarks_px,
            second_landmarks_px=lab.second_landmarks_px,
        )


def feed(options: TrainOptions, stage: Stage, offset: int, start: int) -> DataLoader[Batch]:
    """The batches of a stage from step `start` on, rendered beside the training."""
    steps = range(start, stage.steps)
    return DataLoader(
        Feed(options, stage, offset),
        batch_size=None,
        sampler=list(steps),
        num_workers=options.workers,
        prefetch_factor=3 if options.workers else None,
    )
