"""From the last layer to the picture in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.kernels.geometry import PixelGrid, identity_grid
from eamfmeg_fast.kernels.to_image.reference import to_image_unrounded
from eamfmeg_fast.kernels.warp_occlude.reference import warp, warp_cubic


def deform(picture: Tensor, flow: Tensor, pixel_grid: PixelGrid, align_corners: bool, cubic: bool) -> Tensor:
    """The picture `[B, H, W, C]` sampled along the flow `[B, h, w, 2]`, enlarged to its size.

    Args:
        cubic: `warp_cubic` instead of `warp`.

    Convention:
        "corners": the absolute grid is enlarged, as upstream does; "centres": its displacement is, so that a flow at
        rest leaves every pixel as it is.
    """
    height, width = picture.shape[1:3]
    small = flow
    if pixel_grid == "centres":
        cells = flow.shape[1:3]
        small = flow - identity_grid(cells[0], cells[1], pixel_grid, dtype=flow.dtype, device=flow.device)
    large = _enlarge(small.permute(0, 3, 1, 2), height, width).permute(0, 2, 3, 1)
    if pixel_grid == "centres":
        large = large + identity_grid(height, width, pixel_grid, dtype=flow.dtype, device=flow.device)
    return (warp_cubic if cubic else warp)(picture, large, align_corners)


def blend(prediction: Tensor, deformed: Tensor, occlusion: Tensor, grain: Tensor | None) -> Tensor:
    """`deformed` where the occlusion `[B, h, w]`, enlarged, is 1, `prediction` where it is 0, and grain over both.

    Args:
        prediction, deformed, grain: `[B, H, W, 3]`.

    Returns:
        The same shape, clamped to [0, 1].
    """
    visible = _enlarge(occlusion[:, None], *prediction.shape[1:3]).permute(0, 2, 3, 1)
    out = prediction + visible * (deformed - prediction)
    return (out if grain is None else out + grain).clamp(0, 1)


def compose(
    logits: Tensor,
    picture: Tensor | None,
    grain: Tensor | None,
    flow: Tensor,
    occlusion: Tensor,
    pixel_grid: PixelGrid,
    align_corners: bool,
) -> Tensor:
    """The sigmoid of the logits, blended with the deformed picture where there is one, as 8-bit pixels.

    Args:
        logits, picture, grain: `[B, H, W, 3]`; flow: `[B, h, w, 2]`; occlusion: `[B, h, w]`.
    """
    levels = compose_unrounded(logits, picture, grain, flow, occlusion, pixel_grid, align_corners)
    return torch.floor(levels + 0.5).to(torch.uint8)


def compose_unrounded(
    logits: Tensor,
    picture: Tensor | None,
    grain: Tensor | None,
    flow: Tensor,
    occlusion: Tensor,
    pixel_grid: PixelGrid,
    align_corners: bool,
) -> Tensor:
    """The levels 0...255 before rounding."""
    if picture is None:
        return to_image_unrounded(logits, from_logits=True)
    deformed = deform(picture, flow, pixel_grid, align_corners, cubic=True)
    return to_image_unrounded(blend(torch.sigmoid(logits), deformed, occlusion, grain))


def _enlarge(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
