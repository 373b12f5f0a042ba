"""Where things are on a neutral face: landmarks, lid curves, the line between the lips, the head outline.

Head units: x to image right, y down, (0, 0) on the nose bridge, chin near y = 1, half face width near 0.7.
"""

from __future__ import annotations

import torch

from eamfmeg_fast.lab.identity import Identity, Shape
from eamfmeg_fast.lab.noise import bell

Tensor = torch.Tensor

LANDMARKS: tuple[str, ...] = (
    "inner_brow_left", "inner_brow_right", "outer_brow_left", "outer_brow_right", "upper_lid_left", "upper_lid_right",
    "lip_corner_left", "lip_corner_right", "upper_lip", "lower_lip",
    "nose_tip", "chin", "inner_eye_left", "inner_eye_right", "outer_eye_left", "outer_eye_right",
    "lower_lid_left", "lower_lid_right", "nose_wing_left", "nose_wing_right", "cheek_left", "cheek_right",
    "jaw_left", "jaw_right", "nose_bridge", "forehead",
)  # fmt: skip
"""Landmark names in order (left is image left); the network's K keypoints are the first K."""


def lid_curves(shape: Shape, side_x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neutral lid margins above |x|.

    Args:
        shape: geometry, [B, 1, 1].
        side_x: |x| in head units, broadcastable with [B, 1, 1].

    Returns:
        upper and lower margin (y), and the opening profile (0 outside the eye, 1 at most).
    """
    along = ((side_x - shape.eye_x) / shape.eye_width).clamp(-1.15, 1.15)
    arc = (1.0 - along * along).clamp(min=0.0)
    axis = shape.eye_y - shape.cant * along
    upper = axis - shape.lid_upper * arc**0.7 * (1.0 + shape.lid_skew * along)
    lower = axis + shape.lid_lower * arc * (1.0 - 0.3 * shape.lid_skew * along)
    return upper, lower, arc**0.8


def mouth_line(shape: Shape, side_x: Tensor) -> tuple[Tensor, Tensor]:
    """Neutral line between the lips (y) over |x|, and the opening profile (0 outside the corners, 1 in the middle)."""
    along = (side_x / shape.mouth_width).clamp(0.0, 1.25)
    bow = bell(side_x, 0.06) - 0.75 * bell(side_x - 0.13, 0.07)
    line = shape.mouth_y + shape.mouth_curve * along * along + 0.009 * bow
    return line, (1.0 - along * along).clamp(min=0.0)


def brow_line(shape: Shape, side_x: Tensor) -> tuple[Tensor, Tensor]:
    """Middle of the brow (y) over |x|, and the position along it (0 inner end, 1 outer end)."""
    along = (side_x - shape.brow_inner) / (shape.brow_outer - shape.brow_inner)
    inside = along.clamp(0.0, 1.0)
    arch = shape.brow_arch * torch.sin(torch.pi * inside**1.3)
    return shape.brow_y - arch - shape.brow_tilt * (inside - 0.4), along


def outline_depth(shape: Shape, side_x: Tensor, y: Tensor) -> Tensor:
    """Signed depth inside the head outline in head units (positive inside), over |x| and y."""
    below = (y / shape.chin).clamp(min=0.0)
    above = (-y / 1.03).clamp(min=0.0)
    narrow = 1.0 - shape.taper * (below * below).clamp(max=1.2)
    level = (side_x / (shape.width * narrow)) ** 2 + below**shape.jaw + above**2.5
    return (1.0 - level.clamp(min=1e-6).sqrt()) * torch.sqrt(side_x * side_x + y * y + 0.05)


def landmark_places(identity: Identity) -> Tensor:
    """Neutral landmark positions, float32 [B, L, 2] (x, y) in head units, in the order of LANDMARKS."""
    places = anchor_places(identity.shape)
    return torch.stack([places[name] for name in LANDMARKS], 1)


def anchor_places(shape: Shape) -> dict[str, Tensor]:
    """Neutral positions by landmark name: float32 [B, 2] each."""
    lid, low_lid, _ = lid_curves(shape, shape.eye_x)
    mouth_mid, _ = mouth_line(shape, torch.zeros_like(shape.width))
    mouth_side, _ = mouth_line(shape, shape.mouth_width)
    inner_eye = shape.eye_x - 1.06 * shape.eye_width
    outer_eye = shape.eye_x + 1.06 * shape.eye_width
    inner_brow = shape.brow_inner + 0.03
    outer_brow = shape.brow_outer - 0.03
    sides = {
        "inner_brow": (inner_brow, brow_line(shape, inner_brow)[0]),
        "outer_brow": (outer_brow, brow_line(shape, outer_brow)[0]),
        "upper_lid": (shape.eye_x, lid - 0.02),
        "lower_lid": (shape.eye_x, low_lid + 0.02),
        "lip_corner": (shape.mouth_width * 1.02, mouth_side),
        "inner_eye": (inner_eye, shape.eye_y + shape.cant),
        "outer_eye": (outer_eye, shape.eye_y - shape.cant),
        "nose_wing": (shape.nose_width, shape.nose_y - 0.05),
        "cheek": (shape.eye_x + 0.09, shape.nose_y - 0.15),
        "jaw": (shape.width * 0.78, shape.mouth_y),
    }
    zero = torch.zeros_like(shape.width)
    middle = {
        "upper_lip": (zero, mouth_mid - 0.55 * shape.lip_upper),
        "lower_lip": (zero, mouth_mid + 0.55 * shape.lip_lower),
        "nose_tip": (zero, shape.nose_y - 0.07),
        "chin": (zero, shape.chin - 0.12),
        "nose_bridge": (zero, shape.eye_y + 0.02),
        "forehead": (zero, shape.brow_y - 0.18),
    }
    found = {name: torch.cat([x, y], -1)[:, 0] for name, (x, y) in middle.items()}
    for name, (x, y) in sides.items():
        found[f"{name}_left"] = torch.cat([-x, y], -1)[:, 0]
        found[f"{name}_right"] = torch.cat([x, y], -1)[:, 0]
    return found
