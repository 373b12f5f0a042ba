"""Where the face is in the picture."""

from __future__ import annotations

from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.seeds import Draw


def draw_framing(draw: Draw) -> Pose:
    """From whole heads with shoulders to crops from the brows to the chin; roll and turns within 10 degrees."""
    tight = draw.chance(0.5)
    units = tight * draw.uniform(1.30, 1.75) + (1.0 - tight) * draw.uniform(1.75, 3.1)
    scale = 2.0 / units
    middle_y = 0.16 - 0.08 * (units - 1.4) + draw.middle(-0.16, 0.16) + tight * draw.uniform(-0.04, 0.18)
    return Pose(
        scale=scale, roll=draw.middle(-0.17, 0.17), shift_x=draw.middle(-0.16, 0.16),
        shift_y=-middle_y * scale, yaw=draw.middle(-0.18, 0.18), pitch=draw.middle(-0.14, 0.14),
    )  # fmt: skip
