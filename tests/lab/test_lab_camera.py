"""The camera: what it does to a row depends on that row, encoders lose little or much, brushes keep strong edges."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from eamfmeg_fast.lab.camera import Camera, draw_camera, retouch, shoot
from eamfmeg_fast.lab.codec import compressed, painted

SEEDS = list(range(60))
NOISE = torch.Generator().manual_seed(0)
PICTURE = torch.nn.functional.interpolate(torch.rand(2, 3, 9, 9, generator=NOISE), size=(72, 72), mode="bicubic").clamp(
    0.05, 0.95
)


def _one(value: float) -> torch.Tensor:
    return torch.full((2, 1, 1), value)


def test_stronger_encoders_lose_more() -> None:
    # Grey: of colour even the best keeps half the pixels.
    grey = PICTURE[:, :1].expand(-1, 3, -1, -1)
    loss = [(compressed(grey, _one(s)) - grey).abs().mean() for s in (0.1, 1.0, 4.0, 12.0)]
    assert loss[0] < 0.006 and loss == sorted(loss) and loss[-1] > 3 * loss[1]


@pytest.mark.parametrize("size", [64, 61, 50])
def test_encoder_takes_any_size_and_keeps_flat_pictures(size: int) -> None:
    flat = torch.full((2, 3, size, size), 0.5)
    torch.testing.assert_close(compressed(flat, _one(1.0)), flat, atol=0.01, rtol=0.0)


def test_brush_flattens_texture_and_keeps_edges() -> None:
    step = (torch.arange(64) >= 32).float().expand(2, 3, 64, 64) * 0.6 + 0.2
    grain = 0.03 * torch.randn(step.shape, generator=NOISE)
    brushed = painted(step + grain, _one(1.0))
    assert (brushed - step)[..., 4:24].std() < 0.5 * grain.std()
    assert brushed[..., 34].mean() - brushed[..., 29].mean() > 0.45
    assert torch.equal(painted(step, _one(0.0)), step)


def test_rows_do_not_depend_on_each_other() -> None:
    camera, image = draw_camera(SEEDS, 1, "cpu"), PICTURE[:1].expand(len(SEEDS), -1, -1, -1)
    together = shoot(image, camera, SEEDS, 7)
    assert together.min() >= 0 and together.max() <= 1
    for name in ("coarse", "squeeze", "paint", "grey", "slope_x"):
        share = (getattr(camera, name) != 0).float().mean()
        assert 0.01 < share < 0.8, name
        row = int((getattr(camera, name)[:, 0, 0] != 0).nonzero()[0])
        own = Camera(*(getattr(camera, field.name)[row : row + 1] for field in fields(Camera)))
        torch.testing.assert_close(shoot(image[:1], own, [SEEDS[row]], 7)[0], together[row], atol=1e-5, rtol=1e-4)


def test_a_moment_later_little_has_changed() -> None:
    camera = draw_camera(SEEDS, 1, "cpu")
    later = retouch(camera, SEEDS, 2, "cpu")
    assert torch.equal(later.squeeze, camera.squeeze) and torch.equal(later.blur, camera.blur)
    ratio = later.gain / camera.gain
    assert ratio.min() > 0.93 and ratio.max() < 1.07 and (ratio == 1).any()
    shift = (later.slope_x - camera.slope_x).abs()
    assert (shift == 0).any() and 0.02 < shift.max() < 0.13
