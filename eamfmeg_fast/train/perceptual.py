"""How different two pictures look: the pyramid perceptual loss."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eamfmeg_fast.errors import WeightsError

SCALES = 4
_VGG_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512)
_VGG_SLICES = (1, 6, 11, 20, 29)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FixedPyramid(nn.Module):
    """Colours, gradients and 24 fixed random filters at four scales; needs no file and is the same everywhere."""

    description = "fixed pyramid of colours, gradients and random filters (no VGG19 file given)"

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(19)
        bank = torch.randn(24, 3, 5, 5, generator=generator)
        bank = bank - bank.mean((1, 2, 3), keepdim=True)
        self.register_buffer("bank", bank / bank.square().sum((1, 2, 3), keepdim=True).sqrt())

    def forward(self, got: Tensor, want: Tensor) -> Tensor:
        """Mean distance of `[B, 3, H, W]` pictures over the scales."""
        total = got.new_zeros(())
        for _ in range(SCALES):
            total = total + (got - want).abs().mean()
            for dim in (2, 3):
                total = total + 2 * (got.diff(dim=dim) - want.diff(dim=dim)).abs().mean()
            bank = self.get_buffer("bank").to(got.dtype)
            a, b = (F.relu(F.conv2d(x, bank, stride=2)) for x in (got, want))
            total = total + (a - b).abs().mean()
            got, want = F.avg_pool2d(got, 2), F.avg_pool2d(want, 2)
        return total / SCALES


class VGGPyramid(nn.Module):
    """VGG19 activations (relu1_1 ... relu5_1) at four scales (FOMM, section 3.4).

    Args:
        path: safetensors with torchvision's names, `features.<i>.weight` and `.bias`.

    Raises:
        WeightsError: the file is not that.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.description = f"VGG19 features of {path.name}"
        layers: list[nn.Module] = []
        width = 3
        for item in _VGG_WIDTHS:
            if item == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(width, int(item), 3, padding=1), nn.ReLU()]
                width = int(item)
        self.features = nn.Sequential(*layers)
        try:
            found = {k: v for k, v in load_file(path).items() if k in self.state_dict()}
            self.load_state_dict(found)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise WeightsError(
                f"{path} does not hold VGG19", "safetensors with features.0.weight ... features.28.bias", "Convert it."
            ) from error
        self.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    def forward(self, got: Tensor, want: Tensor) -> Tensor:
        """Mean distance of `[B, 3, H, W]` pictures over the scales and layers."""
        total = got.new_zeros(())
        for _ in range(SCALES):
            a, b = ((x - self.get_buffer("mean")) / self.get_buffer("std") for x in (got, want))
            for i, layer in enumerate(self.features):
                a, b = layer(a), layer(b)
                if i in _VGG_SLICES:
                    total = total + (a - b.detach()).abs().mean()
            got, want = F.avg_pool2d(got, 2), F.avg_pool2d(want, 2)
        return total / SCALES


def perceptual_loss(path: Path | None) -> FixedPyramid | VGGPyramid:
    """VGG19 from `path`, or the fixed pyramid when there is none; `.description` says which."""
    return FixedPyramid() if path is None else VGGPyramid(path)
