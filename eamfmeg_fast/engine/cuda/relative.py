"""The target's moved keypoints and the affine maps that go with them; one kernel where there is Triton."""

from __future__ import annotations

from torch import Tensor

from eamfmeg_fast.engine.cuda.pointwise import in_triton, kernels
from eamfmeg_fast.kernels.geometry import affine_of
from eamfmeg_fast.network import Keypoints, move


def moved_by(
    target: Keypoints, initial: Keypoints | None, driving: Keypoints, factor: Tensor, batch: int
) -> tuple[Keypoints, Tensor]:
    """Keypoints as `network.move` moves them, and `affine_of` the target's and these, `[B, K, 2, 3]`.

    Args:
        target, initial, driving: of one picture or of `batch`; contiguous. initial None: `driving` is what is wanted.
        factor: gain times scale, `[1]` or `[batch]`.
    """
    if in_triton(driving.kp.device.type):
        count = driving.kp.shape[1]
        shapes = ((batch, count, 2, 3), (batch, count, 2), (batch, count, 2, 2))
        out = tuple(driving.kp.new_empty(shape) for shape in shapes)
        kernels().motion_triton(target, initial, driving, factor, out)
        return Keypoints(out[1], out[2]), out[0]
    moved = driving if initial is None else move(target, initial, driving, scale=factor)
    moved = Keypoints(*(x.expand(batch, *x.shape[1:]) for x in moved))
    return moved, affine_of(*target, *moved)
