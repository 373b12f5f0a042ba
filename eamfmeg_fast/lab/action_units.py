"""Action units as muscle fields: where each pulls, in which direction, how wide."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.anatomy import anchor_places
from eamfmeg_fast.lab.identity import Identity

Tensor = torch.Tensor

ACTION_UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 25, 43, 45)
"""FACS numbers in the order of every intensity array."""

EMOTIONS: dict[str, dict[int, float]] = {
    "happiness": {6: 0.6, 12: 0.9},
    "surprise": {1: 0.8, 2: 0.8, 5: 0.6, 25: 0.4},
    "disgust": {4: 0.4, 9: 0.8, 10: 0.6},
    "repression": {14: 0.7, 17: 0.6, 24: 0.6},
    "sadness": {1: 0.8, 4: 0.6, 15: 0.8},
    "anger": {4: 0.9, 7: 0.7, 24: 0.6},
    "fear": {1: 0.7, 2: 0.6, 4: 0.6, 5: 0.5, 20: 0.8},
    "contempt": {14: 0.9},
}
"""Typical action units of an emotion label, at intensities of a clear micro-expression."""


@dataclass(frozen=True)
class Muscle:
    """One Gaussian pull, head units at intensity 1; x is outward on paired muscles."""

    unit: int
    anchor: str
    pull: tuple[float, float]
    spread: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)


YAW, PITCH = -1, -2
MUSCLES: tuple[Muscle, ...] = (
    Muscle(1, "inner_brow", (-0.003, -0.045), (0.12, 0.10)),
    Muscle(1, "inner_brow", (0.0, -0.020), (0.15, 0.12), (0.0, -0.17)),
    Muscle(2, "outer_brow", (0.004, -0.048), (0.14, 0.11), (-0.04, 0.0)),
    Muscle(2, "outer_brow", (0.0, -0.016), (0.16, 0.13), (-0.06, -0.17)),
    Muscle(4, "inner_brow", (-0.028, 0.042), (0.12, 0.10)),
    Muscle(4, "inner_brow", (-0.006, 0.022), (0.14, 0.09), (0.16, 0.0)),
    Muscle(5, "upper_lid", (0.0, -0.006), (0.13, 0.06)),
    Muscle(6, "cheek", (-0.006, -0.038), (0.18, 0.14)),
    Muscle(6, "outer_eye", (-0.014, 0.004), (0.10, 0.09), (0.04, 0.0)),
    Muscle(7, "lower_lid", (-0.004, -0.010), (0.13, 0.06), (0.0, 0.03)),
    Muscle(9, "nose_wing", (0.004, -0.038), (0.10, 0.12)),
    Muscle(9, "nose_bridge", (0.0, -0.014), (0.11, 0.10), (0.0, 0.10)),
    Muscle(9, "inner_brow", (-0.010, 0.018), (0.12, 0.10)),
    Muscle(10, "upper_lip", (0.0, -0.034), (0.12, 0.075), (0.09, -0.03)),
    Muscle(10, "nose_wing", (0.006, -0.014), (0.10, 0.10)),
    Muscle(12, "lip_corner", (0.038, -0.040), (0.15, 0.13)),
    Muscle(12, "cheek", (0.006, -0.016), (0.18, 0.14), (0.02, 0.06)),
    Muscle(14, "lip_corner", (0.034, -0.004), (0.12, 0.11)),
    Muscle(15, "lip_corner", (0.006, 0.044), (0.13, 0.12)),
    Muscle(17, "chin", (0.0, -0.046), (0.19, 0.12)),
    Muscle(17, "lower_lip", (0.0, -0.016), (0.16, 0.08), (0.0, 0.02)),
    Muscle(20, "lip_corner", (0.046, 0.008), (0.14, 0.12)),
    Muscle(24, "upper_lip", (0.0, 0.016), (0.18, 0.06), (0.0, -0.02)),
    Muscle(24, "lower_lip", (0.0, -0.022), (0.18, 0.065), (0.0, 0.03)),
    Muscle(24, "lip_corner", (-0.012, 0.0), (0.12, 0.10)),
    Muscle(25, "lower_lip", (0.0, 0.006), (0.18, 0.12), (0.0, 0.06)),
    Muscle(YAW, "nose_tip", (0.10, 0.0), (0.13, 0.20), (0.0, -0.04)),
    Muscle(YAW, "upper_lip", (0.04, 0.0), (0.26, 0.20)),
    Muscle(PITCH, "nose_tip", (0.0, 0.09), (0.13, 0.16)),
)

LID_DROP = {5: -0.036, 7: 0.014, 43: 0.055, 45: 0.130, 6: 0.004}
LID_RISE = {6: 0.012, 7: 0.022, 45: 0.006}
LIP_GAP_UPPER = {25: 0.010, 10: 0.003}
LIP_GAP_LOWER = {25: 0.036}
"""Aperture changes at intensity 1, head units."""

_PAIRED = {
    "inner_brow",
    "outer_brow",
    "upper_lid",
    "lower_lid",
    "lip_corner",
    "inner_eye",
    "outer_eye",
    "nose_wing",
    "cheek",
}
_LIPS_PAIRED = {(10, "upper_lip")}


@dataclass(frozen=True)
class MuscleSet:
    """All pulls of a batch of identities: anchors [B, M, 2], pulls and spreads [M, 2], unit column and side of each."""

    anchors: Tensor
    pulls: Tensor
    spreads: Tensor
    columns: Tensor
    sides: Tensor


def muscle_set(identity: Identity) -> MuscleSet:
    """Place MUSCLES on a batch of identities; columns count ACTION_UNITS first, then yaw and pitch."""
    places = anchor_places(identity.shape)
    anchors, pulls, spreads, columns, sides = [], [], [], [], []
    order = (*ACTION_UNITS, YAW, PITCH)
    for muscle in MUSCLES:
        paired = muscle.anchor in _PAIRED or (muscle.unit, muscle.anchor) in _LIPS_PAIRED
        for side in (-1.0, 1.0) if paired else (0.0,):
            name = muscle.anchor if muscle.anchor in places else f"{muscle.anchor}_{'left' if side < 0 else 'right'}"
            sign = side or 1.0
            shift = places[name].new_tensor([muscle.offset[0] * sign, muscle.offset[1]])
            anchors.append(places[name] + shift)
            pulls.append((muscle.pull[0] * sign, muscle.pull[1]))
            spreads.append(muscle.spread)
            columns.append(order.index(muscle.unit))
            sides.append(0 if side < 0 else 1 if side > 0 else 2)
    device = identity.device
    return MuscleSet(
        torch.stack(anchors, 1), torch.tensor(pulls, device=device), torch.tensor(spreads, device=device),
        torch.tensor(columns, device=device), torch.tensor(sides, device=device),
    )  # fmt: skip


def aperture_change(intensity: Tensor, table: dict[int, float]) -> Tensor:
    """Sum of an aperture table: intensity float32 [..., A] to [...]."""
    weights = intensity.new_tensor([table.get(unit, 0.0) for unit in ACTION_UNITS])
    return (intensity * weights).sum(-1)


def intensity_vector(action_units: dict[int, float]) -> Tensor:
    """Intensities as float32 [A] in the order of ACTION_UNITS.

    Raises:
        OptionError: an action unit is unknown, or an intensity is outside 0..2.
    """
    vector = torch.zeros(len(ACTION_UNITS))
    for unit, value in action_units.items():
        if unit not in ACTION_UNITS:
            raise OptionError(f"action unit {unit!r}", f"one of {ACTION_UNITS}", "Take its FACS number.")
        if not 0.0 <= float(value) <= 2.0:
            raise OptionError(
                f"intensity {value!r} of action unit {unit}", "0 to 2", "Intensity 1 is a strong micro-expression."
            )
        vector[ACTION_UNITS.index(unit)] = float(value)
    return vector
