"""Where the face is in the picture."""

from __future__ import annotations

from eamfmeg_fast.lab.motion import Pose
from eamfmeg_fast.lab.seeds import Draw


def draw_framing(draw: Draw) -> Pose:
    """From whole heads with shoulders to crops that the face fills; roll within 10 degrees; a little yaw."""
    tight = draw.chance(0.35)
    units = tight * draw.uniform(1.40, 1.75) + (1.0 - tight) * draw.uniform(1.75, 3.1)
    scale = 2.0 / units
    middle_y = 0.16 - 0.08 * (units - 1.4) + draw.middle(-0.16, 0.16)
    return Pose(
        scale=scale, roll=draw.middle(-0.17, 0.17), shift_x=draw.middle(-0.16, 0.16),
        shift_y=-middle_y * scale, bend=draw.middle(-0.06, 0.06),
    )  # fmt: skip
