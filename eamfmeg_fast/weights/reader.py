"""Read the tensors and the metadata of a safetensors file whose header has been checked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights.header import CONVERT, Header, quoted
from eamfmeg_fast.weights.scales import read_scales
from eamfmeg_fast.weights.writer import FORMAT, FORMAT_VERSION

_STORED = ("F32", "F16", "BF16")
_COUNTER = ".num_batches_tracked"
# A kernel rounded to bfloat16 is off by 1.4e-4 at its peak of 0.07; another sigma by more than ten times that.
_ANTIALIAS_TOLERANCE = 2e-4


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[Callable[[str], Tensor]]:
    """Gives the tensor of a name, a view into the mapped file, as long as the context lasts.

    Raises:
        WeightsError: the library finds the file damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file.get_tensor
    except SafetensorError as error:
        raise WeightsError(f"{quoted(path)} is damaged ({quoted(error)})", "intact safetensors") from error


def read_tensors(path: Path, header: Header) -> Iterator[tuple[str, Tensor]]:
    """All tensors in the order of their names, each a view into the mapped file.

    The file is mapped anew for each, so that what has been read does not count as this process's memory.

    Raises:
        WeightsError: the library finds the file damaged.
    """
    for name in sorted(header.entries):
        with open_tensors(path) as get:
            yield name, get(name)


def check_metadata(path: Path, header: Header) -> str:
    """The preset that one of our files states.

    Raises:
        WeightsError: not one of our files, a newer format, an unknown preset, or a card or scales that make no sense.
    """
    stated = header.metadata
    if stated.get("format") != FORMAT:
        raise WeightsError(f"{quoted(path)} is safetensors, but not of this package", f"format {FORMAT}", CONVERT)
    if stated.get("format_version") != FORMAT_VERSION:
        version = quoted(stated.get("format_version"))
        raise WeightsError(f"{quoted(path)} has format version {version}", FORMAT_VERSION, "Install a newer package.")
    preset = stated.get("preset", "")
    if preset not in PRESETS:
        raise WeightsError(f"{quoted(path)} is for preset {quoted(preset)}", f"one of {', '.join(PRESETS)}")
    read_card(path, header)
    read_scales(path, preset, header.metadata)
    return preset


def read_card(path: Path, header: Header) -> dict[str, Any]:
    """The model card of a file; empty if it has none.

    Raises:
        WeightsError: the card is no JSON object.
    """
    try:
        card = json.loads(header.metadata.get("card", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{quoted(path)} has a model card that is no JSON", "a JSON object") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{quoted(path)} has a model card that is no object", "a JSON object")
    return card


def check_types(path: Path, header: Header, allowed: tuple[str, ...] = _STORED) -> None:
    """Every tensor must be of a floating type of `allowed`, except batch norm's counters, which are int64.

    Raises:
        WeightsError: names the first that is not.
    """
    for name, entry in header.entries.items():
        wanted = ("I64",) if name.endswith(_COUNTER) else allowed
        if entry.dtype not in wanted:
            got = f"{quoted(path)}: tensor {quoted(name)} is {entry.dtype}"
            raise WeightsError(got, " or ".join(wanted), "Save it again with save_network or `eamfmeg convert`.")


def check_antialias(path: Path, name: str, found: Tensor, own: Tensor) -> None:
    """An antialias kernel in a file must be the preset's: the operators use the preset's.

    Raises:
        WeightsError: it is another.
    """
    distance = float((found.double() - own.detach().to("cpu", torch.float64)).abs().max())
    if not distance <= _ANTIALIAS_TOLERANCE:
        got = f"{quoted(path)}: {name} is off the antialias kernel by {distance:.2g}"
        raise WeightsError(got, "the preset's fixed Gaussian", "Use the preset that these weights were trained with.")
