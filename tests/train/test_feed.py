"""What the network learns from: no real face, training identities only, and each batch a function of its step."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from eamfmeg_fast.lab import HELD_OUT_SEEDS, LANDMARKS, sample_pairs
from eamfmeg_fast.lab.seeds import identity_seeds
from eamfmeg_fast.train import PICTURES, Stage, TrainOptions
from eamfmeg_fast.train import feed as feeding
from eamfmeg_fast.train.feed import Batch, Feed, feed
from eamfmeg_fast.train.pictures import picture, picture_pairs
from eamfmeg_fast.train.spots import add_spots

STAGE = Stage(steps=5, batch=3, size=128, parts="front")
OPTIONS = TrainOptions(picture_share=0.34, workers=0)
# Of what scikit-image has, everything that shows somebody's face.
PEOPLE = {"astronaut", "camera", "lfw_subset", "lfw", "skin"}


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch))
    )


def test_pictures_show_nobody() -> None:
    assert len(PICTURES) >= 10 and len(set(PICTURES)) == len(PICTURES)
    assert not PEOPLE & set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_comes_without_a_download(name: str) -> None:
    """Tests have no network, so this is what a fresh machine has."""
    x = picture(name)
    assert x.shape[:2] == (1, 3) and min(x.shape[2:]) >= 128 and x.dtype == torch.float32
    assert 0 <= x.min() < 0.5 < x.max() <= 1


def sampled(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear, pixel centres at whole numbers, the border repeated. `[H, W, 3]`."""
    height, width = image.shape[:2]
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    j, i = np.floor(x).astype(int).clip(0, width - 2), np.floor(y).astype(int).clip(0, height - 2)
    u, v = (x - j)[..., None], (y - i)[..., None]
    top = image[i, j] * (1 - u) + image[i, j + 1] * u
    return top * (1 - v) + (image[i + 1, j] * (1 - u) + image[i + 1, j + 1] * u) * v


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_first_picture_warped_by_the_truth_is_the_second(seed: int) -> None:
    first, second, way, valid = picture_pairs(3, 96, seed)
    assert first.shape == second.shape == (3, 3, 96, 96) and way.shape == (3, 96, 96, 2) and valid.dtype == torch.bool
    assert 0 <= second.min() and second.max() <= 1 and valid.float().mean() > 0.7 and way.abs().max() > 0.5
    y, x = np.mgrid[:96, :96]
    gaps = {1: 0.0, 0: 0.0, -1: 0.0}
    for n in range(3):
        a, b = (p[n].permute(1, 2, 0).double().numpy() for p in (first, second))
        seen = valid[n].numpy()
        for sign in gaps:
            drawn = sampled(a, x + sign * way[n, ..., 0].numpy(), y + sign * way[n, ..., 1].numpy())
            gaps[sign] += float(np.sqrt(((drawn - b)[seen] ** 2).mean()))
    # The noise that both pictures carry is at most 0.015.
    assert gaps[1] / 3 < 0.02 and gaps[1] < gaps[0] and gaps[1] < gaps[-1]


def test_pixels_that_come_from_outside_are_not_valid() -> None:
    _, _, way, valid = picture_pairs(4, 96, 5)
    at = torch.stack(torch.meshgrid(torch.arange(96), torch.arange(96), indexing="xy"), -1) + way
    inside = ((at > -0.5) & (at < 95.5)).all(-1)
    assert (inside == valid).float().mean() > 0.999 and not valid.all()


def test_a_batch_depends_on_its_step_alone() -> None:
    stage = Feed(OPTIONS, STAGE, 0)
    third = stage[2]
    stage[4]
    torch.manual_seed(123)
    assert same(third, Feed(OPTIONS, STAGE, 0)[2])
    assert not same(third, stage[3])
    assert same(third, Feed(OPTIONS, STAGE, 2)[0])


def test_feeding_from_the_middle_gives_the_rest() -> None:
    late = list(feed(OPTIONS, STAGE, 0, start=3))
    assert len(late) == 2
    assert all(same(batch, Feed(OPTIONS, STAGE, 0)[3 + i]) for i, batch in enumerate(late))


def test_another_seed_is_another_run() -> None:
    a, b = (Feed(TrainOptions(seed=seed, workers=0), STAGE, 0)[0] for seed in (1, 2))
    assert not torch.equal(a.first, b.first)


def test_faces_come_first_and_things_after() -> None:
    batch = Feed(OPTIONS, STAGE, 0)[0]
    assert batch.faces == 2 and batch.first.shape == batch.second.shape == (3, 3, 128, 128)
    assert batch.displacement_px.shape == (3, 128, 128, 2) and batch.valid.shape == (3, 128, 128)
    assert batch.first_edges.shape == batch.second_edges.shape == (2, 64, 64)
    assert batch.first_landmarks_px.shape == batch.second_landmarks_px.shape == (2, len(LANDMARKS), 2)
    seed = OPTIONS.seed * 1_000_003
    assert torch.equal(batch.first[:2], sample_pairs(2, size=128, seed=seed, split="train", motion="mixed").first)
    assert torch.equal(batch.first[2:], picture_pairs(1, 128, seed)[0])


def test_only_training_identities_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, str]] = []

    def watched(batch: int, *, seed: int, split: str, **options: object) -> object:
        asked.append((seed, batch, split))
        return sample_pairs(batch, seed=seed, split=split, **options)

    monkeypatch.setattr(feeding, "sample_pairs", watched)
    list(feed(TrainOptions(picture_share=0.0, workers=0), STAGE, 100, start=3))
    assert [split for *_, split in asked] == ["train", "train"] and len({seed for seed, *_ in asked}) == 2
    people = [one for seed, batch, split in asked for one in identity_seeds(seed, batch, split)]
    assert len(people) == 6 and not [one for one in people if one in HELD_OUT_SEEDS]


def test_spots_move_with_the_skin() -> None:
    size = 64
    first = second = torch.ones(2, 3, size, size)
    way = torch.zeros(2, size, size, 2)
    way[..., 0], way[..., 1] = 3.0, -2.0
    a, b = add_spots(first, second, way, most=5, seed=4)
    assert float((1 - a).max()) > 0.2 and not torch.equal(a[0], a[1])
    inner = slice(8, -8)
    moved = a.roll((2, -3), dims=(2, 3))
    assert torch.allclose(b[..., inner, inner], moved[..., inner, inner], atol=2e-3)
    assert not torch.allclose(b[..., inner, inner], a[..., inner, inner], atol=5e-2)
    assert torch.equal(add_spots(first, second, way, most=5, seed=4)[0], a)
