"""What is at rest stays exactly as it was: small displacements become none, and visibility is judged against rest."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_PX = 128.0
"""Pixels of a 256-px picture in one unit of a flow: lengths are told in these whatever the picture's size."""
_WHOLE = 4.0
"""Displacements of so many times the threshold are left as they are."""
_LEAST_VISIBLE = 0.25
"""Where the target at rest is less visible than this, the network means to paint: its doubts are not enlarged more."""


def settle_flow(flow: Tensor, rest: Tensor, still_px: float) -> Tensor:
    """`flow` with displacements of up to `still_px` pulled to exactly zero.

    A displacement d becomes `d * smoothstep(longest; still_px, 4 still_px)`, where `longest` is the length of the
    longest displacement among the cell and its eight neighbours. So it is continuous in d, never turns or lengthens d,
    leaves whole what is longer than four thresholds, and a moving region keeps its small parts.

    Args:
        flow: `[B, h, w, 2]`, absolute sampling grid. rest: `[h, w, 2]`, the grid that samples every cell where it is.
        still_px: in pixels of a 256-px picture, whatever the picture's size; 0 returns `flow` itself.
    """
    if not still_px:
        return flow
    away = flow - rest
    length = away.square().sum(-1).sqrt() * _PX
    longest = F.max_pool2d(length[:, None], 3, stride=1, padding=1)[:, 0]
    part = ((longest - still_px) / (still_px * (_WHOLE - 1))).clamp(0, 1)
    part = part * part * (3 - 2 * part)
    return rest + away * part[..., None]


def visible_since_rest(occlusion: Tensor, rest: Tensor | None) -> Tensor:
    """The occlusion in parts of what it is for the target at rest, which hides nothing; at most 1, and exactly 1 there.

    The decoder repaints a share of the target even where nothing moves, and this share is a little blurred. What counts
    for the picture is how much *less* of the target is visible than at rest.

    Args:
        occlusion: `[B, h, w]`. rest: the same for the unmoved target, of one target or B; None returns `occlusion`.
    """
    if rest is None:
        return occlusion
    return 1 - (rest - occlusion).clamp(min=0) / rest.clamp(min=_LEAST_VISIBLE)
