"""Activation scales: what one step of a byte stands for in the input of a convolution, kept in a file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights.header import quoted

SCALES = "activation_scales"

_SMALLEST, _LARGEST = 2.0**-64, 2.0**64
_MAX_TEXT = 1 << 16
_CALIBRATE = "Run `eamfmeg calibrate` on weights that are intact."


def scales_text(preset: str, scales: Mapping[str, float]) -> str:
    """JSON of the scales of a network of `preset`.

    Raises:
        WeightsError: as `check_scales`.
    """
    return json.dumps(check_scales("these weights", preset, dict(scales)), sort_keys=True)


def read_scales(where: object, preset: str, metadata: Mapping[str, str]) -> dict[str, float] | None:
    """The scales in a file's metadata; None if it has none.

    Args:
        where: the file, for messages. preset: whose convolutions are named.

    Raises:
        WeightsError: what is there is no JSON object, or as `check_scales`.
    """
    text = metadata.get(SCALES)
    if text is None:
        return None
    if len(text) > _MAX_TEXT:
        raise WeightsError(
            f"{quoted(where)} has {len(text)} characters of {SCALES}", f"at most {_MAX_TEXT}", _CALIBRATE
        )
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{quoted(where)} has {SCALES} that are no JSON object", "one", _CALIBRATE) from error
    return check_scales(where, preset, found)


def check_scales(where: object, preset: str, found: object) -> dict[str, float]:
    """Scales as a dict, in the order of the network.

    Raises:
        WeightsError: not one number for each of the preset's residual convolutions, or one that is not finite and
            positive by a wide margin.
    """
    names = PRESETS[preset].residual_convolutions
    if not isinstance(found, dict):
        raise WeightsError(f"{quoted(where)}: {SCALES} are no JSON object", "names and numbers", _CALIBRATE)
    if strange := sorted(set(map(str, found)).symmetric_difference(names)):
        state = "is unknown" if strange[0] in found else "is missing"
        got = f"{quoted(where)}: {SCALES}: {quoted(strange[0])} {state}"
        raise WeightsError(got, f"the {len(names)} convolutions of preset {preset}", _CALIBRATE)
    for name in names:
        if not _is_scale(found[name]):
            got = f"{quoted(where)}: {SCALES}: {name} is {quoted(found[name])}"
            raise WeightsError(got, "a finite number above zero", _CALIBRATE)
    return {name: float(found[name]) for name in names}


def _is_scale(value: object) -> bool:
    return type(value) in (int, float) and _SMALLEST <= value <= _LARGEST  # type: ignore[operator]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("the same key twice")
    return fields
