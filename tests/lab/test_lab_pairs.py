"""Pairs: the displacement explains the second frame, and only the right one does."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab import LANDMARKS, sample_pairs
from eamfmeg_fast.lab import pairs as pairs_room
from eamfmeg_fast.lab import render as render_room
from eamfmeg_fast.lab.render import render

BATCH, SIZE = 4, 128


def _warp(image: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    size = image.shape[-1]
    axis = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = (2.0 * (torch.stack([x, y], -1) + way) + 1.0) / size - 1.0
    return grid_sample(image, points, mode="bicubic", align_corners=False, padding_mode="border")


def _psnr(pairs: pairs_room.LabPairs, way: torch.Tensor) -> torch.Tensor:
    error = ((_warp(pairs.first, way) - pairs.second) ** 2).mean(1)
    return -10.0 * torch.log10((error * pairs.valid).sum((1, 2)) / pairs.valid.sum((1, 2)) + 1e-9)


@pytest.fixture(params=["micro", "mixed"])
def clean(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> pairs_room.LabPairs:
    monkeypatch.setattr(pairs_room, "shoot", lambda image, *_: image)
    monkeypatch.setattr(render_room, "creased", lambda skin, *_: skin)
    return sample_pairs(BATCH, size=SIZE, seed=5, motion=request.param)


def _skin_shows(layers: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Whether a landmark lies on skin that nothing covers, [B, L]."""
    seen = grid_sample(layers, at[:, None], align_corners=False)[:, :, 0]
    return (seen[:, 0] > 0.999) & (seen[:, 1:].amax(1) < 0.001)


def test_displacement_explains_the_second_frame(clean: pairs_room.LabPairs) -> None:
    way = clean.displacement_px
    true = _psnr(clean, way)
    assert true.min() > 34.0
    for mutant in (-way, way.flip(-1), 0.0 * way, 0.8 * way):
        assert _psnr(clean, mutant).mean() < true.mean() - 1.5


def test_valid_excludes_what_does_not_correspond(clean: pairs_room.LabPairs) -> None:
    error = ((_warp(clean.first, clean.displacement_px) - clean.second) ** 2).mean(1)
    assert error[~clean.valid].mean() > 2.0 * error[clean.valid].mean()
    assert clean.valid.float().mean() > 0.6


@pytest.mark.parametrize("motion", ["micro", "mixed"])
def test_landmarks_agree_with_the_displacement(motion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[torch.Tensor] = []

    def watched(*arguments: object) -> object:
        drawn = render(*arguments)  # type: ignore[arg-type]
        layers.append(drawn.layers)
        return drawn

    monkeypatch.setattr(pairs_room, "render", watched)
    clean = sample_pairs(BATCH, size=SIZE, seed=5, motion=motion)
    at = (2.0 * clean.second_landmarks_px + 1.0) / SIZE - 1.0
    way = grid_sample(clean.displacement_px.permute(0, 3, 1, 2), at[:, None], align_corners=False)[:, :, 0].mT
    pure = _skin_shows(torch.cat(layers[1::2]), at)
    away = (clean.second_landmarks_px + way - clean.first_landmarks_px).norm(dim=-1)
    sure = pure & (at.abs() < 0.95).all(-1)
    assert sure.sum() > 0.5 * sure.numel()
    # The way bends within a pixel of a corner of the eye.
    corner = torch.tensor([name[6:].startswith("eye") for name in LANDMARKS])
    assert away[sure & ~corner].max() < 0.05 and away[sure].max() < 0.1
    assert (clean.second_landmarks_px - clean.first_landmarks_px).norm(dim=-1)[sure].max() > 0.5


def test_shapes_and_ranges() -> None:
    pairs = sample_pairs(2, size=64, seed=3)
    assert pairs.first.shape == pairs.second.shape == (2, 3, 64, 64)
    assert pairs.displacement_px.shape == (2, 64, 64, 2) and pairs.displacement_px.dtype == torch.float32
    assert pairs.valid.shape == (2, 64, 64) and pairs.valid.dtype == torch.bool
    assert pairs.first_edges.shape == pairs.second_edges.shape == (2, 64, 64)
    assert pairs.first_landmarks_px.shape == (2, len(LANDMARKS), 2)
    for image in (pairs.first, pairs.second, pairs.first_edges, pairs.second_edges):
        assert torch.isfinite(image).all() and image.min() >= 0.0 and image.max() <= 1.0
    assert pairs.first_edges.mean() < 0.5 < pairs.first_edges.amax()


def test_same_seed_same_bits_and_no_influence_of_the_batch() -> None:
    once, again, fewer = (sample_pairs(n, size=64, seed=9, motion="mixed") for n in (3, 3, 1))
    for name in ("first", "second", "displacement_px", "first_edges", "second_landmarks_px"):
        assert torch.equal(getattr(once, name), getattr(again, name))
        torch.testing.assert_close(getattr(fewer, name)[0], getattr(once, name)[0], atol=2e-4, rtol=1e-4)
    other = sample_pairs(1, size=64, seed=10, motion="mixed")
    assert (other.first - fewer.first).abs().mean() > 0.02


def test_geometry_is_the_same_at_any_size() -> None:
    small, large = (sample_pairs(2, size=size, seed=4, motion="mixed") for size in (64, 128))
    torch.testing.assert_close(
        (small.second_landmarks_px + 0.5) / 64, (large.second_landmarks_px + 0.5) / 128, atol=1e-5, rtol=1e-5
    )
    shrunk = torch.nn.functional.avg_pool2d(large.displacement_px.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) / 2
    both = small.valid & torch.nn.functional.avg_pool2d(large.valid[:, None].float(), 2)[:, 0].ge(0.999)
    assert (shrunk - small.displacement_px).abs()[both].max() < 0.08
    thumbnail = torch.nn.functional.avg_pool2d(large.first, 2)
    assert (thumbnail - small.first).abs().mean() < 0.04


def test_mixed_moves_more_than_micro() -> None:
    micro, mixed = (
        sample_pairs(6, size=64, seed=2, motion=kind).displacement_px.abs().amax((1, 2, 3))
        for kind in ("micro", "mixed")
    )
    assert micro.max() < 64 * 0.08
    assert mixed.max() > 1.2 * micro.max()


@pytest.mark.parametrize("change", [{"batch": 0}, {"size": 8}, {"motion": "huge"}, {"split": "test"}])
def test_wrong_arguments_are_refused(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {"batch": 1, "size": 64, "seed": 0, **change}
    with pytest.raises(OptionError):
        sample_pairs(arguments.pop("batch"), **arguments)  # type: ignore[arg-type]
