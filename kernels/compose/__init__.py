"""compose: from the last layer's numbers to the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import InputError, ShapeError
from eamfmeg_fast.kernels.checks import check_choice, check_exact, check_rank, check_shape, describe
from eamfmeg_fast.kernels.compiled import PIXEL_GRID
from eamfmeg_fast.kernels.compose import native, samples
from eamfmeg_fast.kernels.compose import reference as plain
from eamfmeg_fast.kernels.geometry import PixelGrid
from eamfmeg_fast.kernels.registration import operator

__all__ = ["OP", "compose"]

_LONGEST = 1 << 22


def compose(
    logits: Tensor,
    picture: Tensor | None,
    grain: Tensor | None,
    flow: Tensor,
    occlusion: Tensor,
    pixel_grid: PixelGrid,
    align_corners: bool,
) -> Tensor:
    """Sigmoid of the logits, blended with the target's picture moved by the flow, grain over it, as 8-bit pixels.

    Where the enlarged occlusion is 1 the picture shows, where it is 0 the prediction. Rounded halves up and clamped,
    NaN is 0, as `to_image`.

    Args:
        logits: `[B, H, W, 3]`, float32 or float64, any strides; only B may be 0.
        picture: the same shape and type, in [0, 1]; None: the sigmoid is all there is.
        grain: the same shape and type, added at the end; None: nothing is.
        flow: `[B, h, w, 2]`, occlusion: `[B, h, w]`, the same type; H and W are multiples of h and w.
        pixel_grid, align_corners: as below.

    Returns:
        uint8 `[B, H, W, 3]`, contiguous.

    Raises:
        ShapeError: another number of axes, or sizes that do not fit.
        DtypeError: another type, or several.
        OptionError: another `pixel_grid`.
        InputError: grain without a picture.

    Convention:
        flow is absolute, backward, (x, y) in [-1, 1], and is enlarged bilinearly: with "corners" as it is, with
        "centres" its displacement, so that a flow at rest gives back the picture. The picture is sampled with Keys'
        cubic kernel (a = -0.75), its border repeated; align_corners=False: -1 is the outer edge of its first pixel,
        True: its centre.
    """
    _check_pictures(logits, picture, grain)
    check_rank("flow", flow, "BhwX")
    check_exact("flow", flow, logits)
    check_exact("occlusion", occlusion, logits)
    batch, height, width, _ = logits.shape
    _, rows, columns, _ = flow.shape
    if flow.shape[0] != batch or flow.shape[3] != 2 or 0 in (rows, columns) or height % rows or width % columns:
        wanted = f"[{batch}, h, w, 2], with h and w that divide {height} and {width}"
        raise ShapeError(f"flow is {describe(flow)}", wanted, "Logits are a whole number of times as large.")
    check_shape("occlusion", occlusion, tuple(flow.shape[:3]), "flow")
    check_choice("pixel_grid", pixel_grid, PIXEL_GRID)
    return torch.ops.eamfmeg.compose(logits, picture, grain, flow, occlusion, pixel_grid, align_corners)


def _check_pictures(logits: Tensor, picture: Tensor | None, grain: Tensor | None) -> None:
    check_rank("logits", logits, "BHWC")
    check_exact("logits", logits)
    if logits.shape[3] != 3 or 0 in logits.shape[1:]:
        raise ShapeError(f"logits is {describe(logits)}", "[B, H, W, 3], only B may be 0")
    if picture is None and grain is not None:
        raise InputError("grain without a picture", "both", "Grain is what was taken off the picture.")
    for name, x in (("picture", picture), ("grain", grain)):
        if x is not None:
            check_exact(name, x, logits)
            check_shape(name, x, tuple(logits.shape), "logits")


def _fake(logits: Tensor, *others: object) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.uint8)


def _takes(logits: Tensor, *others: object) -> bool:
    return logits.dtype == torch.float32 and max(logits.shape[1:3]) <= _LONGEST


OP = operator(
    "compose(Tensor logits, Tensor? picture, Tensor? grain, Tensor flow, Tensor occlusion, str pixel_grid,"
    " bool align_corners) -> Tensor",
    public=compose,
    reference=plain.compose,
    fake=_fake,
    takes=_takes,
    cases=samples,
    cpu=native.compose_cpu,
    triton=False,
    unrounded=plain.compose_unrounded,
)
