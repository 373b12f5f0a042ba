"""The camera: exposure, colour, blur, noise, and what cheap encoders leave behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, interpolate, pad

from eamfmeg_fast.lab.noise import centres
from eamfmeg_fast.lab.seeds import Draw, generator

Tensor = torch.Tensor


@dataclass(frozen=True)
class Camera:
    """One camera per row: gain [B, 3, 1, 1]; the rest float32 [B, 1, 1]. blur and grain are in parts of the frame."""

    gain: Tensor
    gamma: Tensor
    black: Tensor
    grey: Tensor
    vignette: Tensor
    blur: Tensor
    noise: Tensor
    coarse: Tensor
    levels: Tensor


def draw_camera(seeds: list[int], salt: int, device: torch.device | str) -> Camera:
    """Cameras of the given seeds."""
    draw = Draw(seeds, salt, device, width=32)
    exposure = draw.middle(0.72, 1.16)
    tint = draw.colour((0.94, 0.96, 0.92), (1.06, 1.04, 1.08))
    dim = 1.0 - 0.45 * draw.chance(0.2) * draw.unit()
    return Camera(
        gain=tint * (exposure * dim)[:, None], gamma=draw.middle(0.8, 1.3), black=draw.uniform(0.0, 0.05),
        grey=draw.chance(0.33), vignette=draw.chance(0.5) * draw.uniform(0.0, 0.35),
        blur=draw.chance(0.6) * draw.uniform(0.0, 0.0045), noise=draw.unit() ** 2 * 0.024 + 0.002,
        coarse=draw.chance(0.15), levels=draw.chance(0.12) * draw.uniform(24.0, 64.0),
    )  # fmt: skip


def retouch(camera: Camera, seeds: list[int], salt: int, device: torch.device | str) -> Camera:
    """The same cameras a moment later: mostly unchanged, sometimes a little brighter or darker."""
    draw = Draw(seeds, salt, device, width=8)
    change = 1.0 + draw.chance(0.3) * draw.uniform(-0.05, 0.05)
    return Camera(camera.gain * change[:, None], camera.gamma, camera.black, camera.grey, camera.vignette,
                  camera.blur, camera.noise, camera.coarse, camera.levels)  # fmt: skip


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, sigma [B, 1, 1] in pixels (0 leaves the row as it is)."""
    steps = torch.arange(-4, 5, device=image.device, dtype=torch.float32)
    row = torch.exp(-0.5 * (steps / sigma.clamp(min=1e-3)) ** 2)[:, 0]
    row = (row / row.sum(1, keepdim=True)).repeat_interleave(3, 0)
    batch, channels, height, width = image.shape
    flat = pad(image, (4, 4, 4, 4), mode="replicate").reshape(1, batch * channels, height + 8, width + 8)
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
    image = _blurred(image, camera.blur * size)
    coarse = camera.coarse[:, 0, 0] > 0.5
    if bool(coarse.any()):
        small = interpolate(image[coarse], size=(max(size // 2, 16),) * 2, mode="area")
        image = image.index_put((coarse.nonzero()[:, 0],), interpolate(small, size=(size, size), mode="bilinear"))
    axis = centres(size, image.device)
    fall = 1.0 - camera.vignette * 0.5 * (axis[None, None] ** 2 + axis[None, :, None] ** 2)
    image = (image * camera.gain * fall[:, None]).clamp(1e-4, 1.0) ** camera.gamma[:, None]
    image = camera.black[:, None] + (1.0 - camera.black[:, None]) * image
    luminance = (image * image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    image = image + (luminance - image) * camera.grey[:, None]
    noise = _noise(seeds, salt, image)
    noise = noise + (noise[:, :1] - noise) * camera.grey[:, None]
    image = image + noise * (camera.noise[:, None] * (0.5 + luminance.sqrt()))
    levels = camera.levels[:, None]
    image = torch.where(levels > 1.0, (image * levels).round() / levels.clamp(min=1.0), image)
    return image.clamp(0.0, 1.0)
