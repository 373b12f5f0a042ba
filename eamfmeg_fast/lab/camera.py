"""The camera: exposure, colour, blur, noise, and what cheap encoders leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch.nn.functional import conv2d, interpolate, pad

from eamfmeg_fast.lab.codec import compressed, painted
from eamfmeg_fast.lab.noise import centres
from eamfmeg_fast.lab.seeds import Draw, generator

Tensor = torch.Tensor


@dataclass(frozen=True)
class Camera:
    """One camera per row: gain [B, 3, 1, 1]; the rest float32 [B, 1, 1]. blur is in parts of the frame.

    coarse: 1 where half the pixels are taken and stretched. squeeze: strength of the encoder, 0 is none. paint: how
    much it is a painting. slope_x, slope_y: light that falls off across the frame.
    """

    gain: Tensor
    gamma: Tensor
    black: Tensor
    grey: Tensor
    vignette: Tensor
    blur: Tensor
    noise: Tensor
    coarse: Tensor
    levels: Tensor
    squeeze: Tensor
    paint: Tensor
    slope_x: Tensor
    slope_y: Tensor


def draw_camera(seeds: list[int], salt: int, device: torch.device | str) -> Camera:
    """Cameras of the given seeds."""
    draw = Draw(seeds, salt, device, width=32)
    exposure = draw.middle(0.72, 1.16)
    tint = draw.colour((0.94, 0.96, 0.92), (1.06, 1.04, 1.08))
    dim = 1.0 - 0.45 * draw.chance(0.2) * draw.unit()
    soft = draw.chance(0.7) * draw.uniform(0.0, 0.0065)
    return Camera(
        gain=tint * (exposure * dim)[:, None], gamma=draw.middle(0.75, 1.35), black=draw.uniform(0.0, 0.06),
        grey=draw.chance(0.40), vignette=draw.chance(0.5) * draw.uniform(0.0, 0.35),
        blur=soft, noise=draw.unit() ** 2 * 0.024 + 0.002,
        coarse=draw.chance(0.25), levels=draw.chance(0.06) * draw.uniform(24.0, 64.0),
        squeeze=draw.chance(0.5) * (0.4 + 3.0 * draw.unit() ** 2), paint=draw.chance(0.08) * draw.uniform(0.6, 1.0),
        slope_x=draw.chance(0.3) * draw.uniform(-0.3, 0.3), slope_y=draw.chance(0.2) * draw.uniform(-0.2, 0.2),
    )  # fmt: skip


def retouch(camera: Camera, seeds: list[int], salt: int, device: torch.device | str) -> Camera:
    """The same cameras a moment later: mostly unchanged, sometimes the light flickers or comes from elsewhere."""
    draw = Draw(seeds, salt, device, width=8)
    change = 1.0 + draw.chance(0.3) * draw.uniform(-0.06, 0.06)
    flicker = draw.chance(0.2)
    return replace(
        camera,
        gain=camera.gain * change[:, None],
        slope_x=camera.slope_x + flicker * draw.uniform(-0.12, 0.12),
        slope_y=camera.slope_y + flicker * draw.uniform(-0.12, 0.12),
    )


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, sigma [B, 1, 1] in pixels (0 leaves the row as it is)."""
    reach = max(4, round(0.017 * image.shape[-1]))
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32)
    row = torch.exp(-0.5 * (steps / sigma.clamp(min=1e-3)) ** 2)[:, 0]
    row = (row / row.sum(1, keepdim=True)).repeat_interleave(3, 0)
    batch, channels, height, width = image.shape
    flat = pad(image, (reach,) * 4, mode="replicate")
    flat = flat.reshape(1, batch * channels, height + 2 * reach, width + 2 * reach)
    flat = conv2d(flat, row[:, None, None], groups=batch * channels)
    return conv2d(flat, row[:, None, :, None], groups=batch * channels).reshape(image.shape)


def _noise(seeds: list[int], salt: int, image: Tensor) -> Tensor:
    shape = image.shape[1:]
    if image.device.type == "cpu":
        return torch.stack([torch.randn(shape, generator=generator(seed, salt)) for seed in seeds])
    source = torch.Generator(image.device).manual_seed(generator(*seeds, salt).initial_seed())
    return torch.randn(image.shape, generator=source, device=image.device)


def shoot(image: Tensor, camera: Camera, seeds: list[int], salt: int) -> Tensor:
    """Take the picture.

    Args:
        image: float32 [B, 3, H, W] in 0..1.
        camera: one per row.
        seeds: seed of each row's noise.
        salt: number of the exposure; another number gives independent noise.

    Returns:
        float32 [B, 3, H, W] in 0..1. On the CPU the noise of a row depends on its own seed alone.
    """
    size = image.shape[-1]
    image = _exposed(_blurred(_apply(painted, image, camera.paint), camera.blur * size), camera)
    out = torch.empty_like(image)
    for coarse in (False, True):
        rows = ((camera.coarse[:, 0, 0] > 0.5) == coarse).nonzero()[:, 0]
        if not len(rows):
            continue
        part, own, few = image[rows], _rows(camera, rows), [seeds[k] for k in rows.tolist()]
        if coarse:
            part = interpolate(part, size=(max(size // 2, 16),) * 2, mode="area")
        part = _sensed(part, own, few, salt)
        out[rows] = interpolate(part, size=(size, size), mode="bilinear") if coarse else part
    return out.clamp(0.0, 1.0)


def _rows(camera: Camera, rows: Tensor) -> Camera:
    return Camera(*(getattr(camera, field.name)[rows] for field in fields(Camera)))


def _apply(effect: Callable[[Tensor, Tensor], Tensor], image: Tensor, amount: Tensor) -> Tensor:
    """The effect on those rows where its amount [B, 1, 1] is above 0."""
    rows = amount[:, 0, 0].nonzero()[:, 0]
    return image.index_put((rows,), effect(image[rows], amount[rows])) if len(rows) else image


def _exposed(image: Tensor, camera: Camera) -> Tensor:
    """Light and tone curve."""
    axis = centres(image.shape[-1], image.device)
    x, y = axis[None, None], axis[None, :, None]
    fall = 1.0 - camera.vignette * 0.5 * (x**2 + y**2) + camera.slope_x * x + camera.slope_y * y
    image = (image * camera.gain * fall[:, None]).clamp(1e-4, 1.0) ** camera.gamma[:, None]
    return camera.black[:, None] + (1.0 - camera.black[:, None]) * image


def _sensed(image: Tensor, camera: Camera, seeds: list[int], salt: int) -> Tensor:
    """What the sensor and the encoder make of the light."""
    luminance = (image * image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    image = image + (luminance - image) * camera.grey[:, None]
    noise = _noise(seeds, salt, image)
    noise = noise + (noise[:, :1] - noise) * camera.grey[:, None]
    image = image + noise * (camera.noise[:, None] * (0.5 + luminance.sqrt()))
    levels = camera.levels[:, None]
    image = torch.where(levels > 1.0, (image * levels).round() / levels.clamp(min=1.0), image)
    return _apply(compressed, image, camera.squeeze * (1.0 - 0.5 * camera.coarse))
