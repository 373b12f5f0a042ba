"""The blocks that all networks of the family are made of. Names of parameters are upstream's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamfmeg_fast.config import HourglassConfig
from eamfmeg_fast.kernels.antialias_down import antialias_down, gaussian_kernel
from eamfmeg_fast.kernels.upsample_conv.reference import upsample_conv


def to_nhwc(x: Tensor) -> Tensor:
    """`[B, C, H, W]` seen as `[B, H, W, C]`, the operators' layout."""
    return x.permute(0, 2, 3, 1)


def to_nchw(x: Tensor) -> Tensor:
    """`[B, H, W, C]` seen as `[B, C, H, W]`, the modules' layout."""
    return x.permute(0, 3, 1, 2)


class SameBlock2d(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_features: int, out_features: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownBlock2d(SameBlock2d):
    """Convolution, batch norm, ReLU, 2x2 average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock2d(SameBlock2d):
    """Nearest x2, convolution, batch norm, ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        out = to_nchw(upsample_conv(to_nhwc(x), self.conv.weight, self.conv.bias))
        return F.relu(self.norm(out))


class ResBlock2d(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(features)
        self.norm2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return out + x


class Encoder(nn.Module):
    """The way down of an hourglass; keeps every level."""

    def __init__(self, in_features: int, config: HourglassConfig) -> None:
        super().__init__()
        width = _widths(config)
        blocks = [DownBlock2d(in_features if i == 0 else width[i], width[i + 1]) for i in range(config.num_blocks)]
        self.down_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class Decoder(nn.Module):
    """The way up of an hourglass; the level below is concatenated with the one kept on the way down."""

    def __init__(self, in_features: int, config: HourglassConfig) -> None:
        super().__init__()
        width, last = _widths(config), config.num_blocks - 1
        blocks = [UpBlock2d(width[i + 1] * (1 if i == last else 2), width[i]) for i in range(last, -1, -1)]
        self.up_blocks = nn.ModuleList(blocks)
        self.out_filters = config.block_expansion + in_features

    def forward(self, levels: list[Tensor]) -> Tensor:
        out = levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            out = torch.cat([block(out), skip], dim=1)
        return out


class Hourglass(nn.Module):
    """Encoder and decoder; `[B, in, H, W]` -> `[B, block_expansion + in, H, W]`."""

    def __init__(self, in_features: int, config: HourglassConfig) -> None:
        super().__init__()
        self.encoder = Encoder(in_features, config)
        self.decoder = Decoder(in_features, config)
        self.out_filters = self.decoder.out_filters

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class AntiAliasInterpolation2d(nn.Module):
    """Antialiased reduction to `scale` times the size; the kernel is a buffer, as in upstream's checkpoints.

    Convention:
        even=False: output pixel i lies on input pixel i / scale (upstream); even=True: in the middle of its block.
    """

    weight: Tensor

    def __init__(self, channels: int, scale: float, even: bool = False) -> None:
        super().__init__()
        self.stride = round(1 / scale)
        kernel = gaussian_kernel(scale, even)
        self.register_buffer("weight", kernel.expand(channels, 1, *kernel.shape).clone())

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] -> `[B, 3, H scale, W scale]`."""
        return to_nchw(antialias_down(to_nhwc(x), self.weight[0, 0], self.stride))


def _widths(config: HourglassConfig) -> list[int]:
    """Channels at every level, from the full size down; level 0 is what the last up block gives."""
    levels = range(config.num_blocks + 1)
    return [min(config.max_features, config.block_expansion * 2**i) for i in levels]
