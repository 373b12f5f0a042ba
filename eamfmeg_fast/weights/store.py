"""Load and save networks as safetensors files that carry their preset, card and hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.config import LIMITS, PRESETS
from eamfmeg_fast.errors import DtypeError, WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights.header import CONVERT, Header, file_size, quoted, read_header, sniff
from eamfmeg_fast.weights.reader import (
    check_antialias,
    check_metadata,
    check_types,
    open_tensors,
    read_card,
    read_tensors,
)
from eamfmeg_fast.weights.report import WeightsInfo
from eamfmeg_fast.weights.scales import SCALES, read_scales, scales_text
from eamfmeg_fast.weights.shapes import blank_network, first_mismatch, is_antialias, is_regenerated, value_problem
from eamfmeg_fast.weights.writer import (
    ContentDigest,
    check_disk_dtype,
    make_metadata,
    on_disk,
    sha256_of_file,
    write_weights,
)

PRETRAINED = Path(__file__).parents[1] / "pretrained"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LOAD_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_CHECKPOINT_SUFFIXES = (".pth", ".tar", ".pt", ".ckpt")


def pretrained_names() -> tuple[str, ...]:
    """Names of the weights that come with the package."""
    return tuple(sorted(path.stem for path in PRETRAINED.glob("*.safetensors")))


def load_network(
    name_or_path: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> tuple[Network, WeightsInfo]:
    """A network with the weights of a file, in evaluation mode.

    Every tensor is checked (name, shape, type, finite values, hash) while it is copied; the file itself is mapped, so
    memory holds one copy. Counters and antialias kernels may be absent: the network makes them.

    Args:
        name_or_path: one of `pretrained_names()` or a `.safetensors` file.
        dtype: of the network; device: where it lives.

    Raises:
        WeightsError: no such weights, a checkpoint that must be converted, or a file that is damaged, hostile, of
            another network or holds NaN.
        DtypeError: `dtype` is no floating type of torch that networks have.
    """
    if dtype not in _LOAD_DTYPES:
        raise DtypeError(f"network dtype {dtype}", f"one of {', '.join(str(item) for item in _LOAD_DTYPES)}")
    path = resolve(name_or_path)
    header, preset = _checked_header(path)
    network = blank_network(preset, device).to(dtype=dtype)
    info = _read(path, header, network, fill=True)
    return network.eval(), info


def check_weights(path: Path) -> WeightsInfo:
    """Check a file as `load_network` does, reading all of it and keeping nothing.

    Raises:
        WeightsError: as `load_network`.
    """
    header, preset = _checked_header(path)
    return _read(path, header, blank_network(preset), fill=False)


def save_network(
    network: Network,
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    card: dict[str, Any] | None = None,
    created_from: str | None = None,
    activation_scales: Mapping[str, float] | None = None,
) -> WeightsInfo:
    """Write the weights of `network` as a `.safetensors` file; the same numbers give the same bytes.

    Args:
        network: of a preset; its counters and antialias kernels are left out.
        path: replaced if it exists, in one step.
        dtype: of matrices and kernels on disk, float32, float16 or bfloat16; vectors stay float32.
        card: JSON: what it was trained on, licence, recipe, seed, steps, limits.
        created_from: sha256 of the checkpoint that these weights come from.
        activation_scales: what `evaluate.measure_scales` gave, for precision int8.

    Raises:
        WeightsError: a tensor that is not finite (in `dtype`), an unknown preset or a file that cannot be written.
        DtypeError: another `dtype`.
    """
    check_disk_dtype(dtype)
    path, preset = Path(path), network.config.preset
    if path.suffix != ".safetensors":
        raise WeightsError(f"file name {quoted(path.name)}", "a name that ends in .safetensors")
    if PRESETS.get(preset) != network.config:
        raise WeightsError(
            f"a network of configuration {quoted(preset)}", "a preset, unchanged", "Add a preset for it."
        )
    state = {name: tensor for name, tensor in network.state_dict().items() if not is_regenerated(name)}
    metadata = make_metadata(preset, card, created_from, activation_scales)
    write_weights(path, state, lambda name: on_disk(name, state[name], dtype), metadata)
    header = read_header(path)
    return _info(path, header, network, header.metadata["sha256"])


def store_scales(name_or_path: str | Path, scales: Mapping[str, float]) -> WeightsInfo:
    """Put activation scales into a weights file, which is replaced in one step; its tensors stay as they are.

    Raises:
        WeightsError: as `load_network`, scales that make no sense, or a file that cannot be written.
    """
    path = resolve(name_or_path)
    # A damaged file must not get a hash that fits it.
    check_weights(path)
    header, preset = _checked_header(path)
    metadata = {key: text for key, text in header.metadata.items() if key != "sha256"}
    with open_tensors(path) as get:
        write_weights(path, header.entries, get, metadata | {SCALES: scales_text(preset, scales)})
    header = read_header(path)
    return _info(path, header, blank_network(preset), header.metadata["sha256"])


def resolve(name_or_path: str | Path) -> Path:
    """The file that a name or path means.

    Raises:
        WeightsError: an unknown name, or a checkpoint that must be converted first.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and _NAME.fullmatch(text):
        shipped = PRETRAINED / f"{text}.safetensors"
        if shipped.is_file():
            return shipped
        if "." not in text and not Path(text).is_file():
            names = ", ".join(pretrained_names()) or "none yet"
            raise WeightsError(f"no weights called {quoted(text)}", f"a shipped name ({names}) or a .safetensors file")
    path = Path(name_or_path)
    if path.suffix not in _CHECKPOINT_SUFFIXES:
        file_size(path, LIMITS.max_weights_bytes)
        if sniff(path) == "safetensors":
            return path
    raise WeightsError(f"{quoted(path)} is a checkpoint, which may carry code", "a .safetensors file", CONVERT)


def _checked_header(path: Path) -> tuple[Header, str]:
    """The header of a file of ours and its preset, whose names and shapes it has."""
    header = read_header(path)
    preset = check_metadata(path, header)
    if wrong := first_mismatch(header.shapes, preset):
        raise WeightsError(f"{quoted(path)}: {wrong.got}", wrong.wanted, "Use the weights of that preset.")
    check_types(path, header)
    return header, preset


def _read(path: Path, header: Header, network: Network, fill: bool) -> WeightsInfo:
    """Check every tensor of the file and, to `fill`, copy it into `network`."""
    content = _digest(path, header, network.state_dict(), fill)
    if content != header.metadata.get("sha256"):
        raise WeightsError(f"{quoted(path)} does not hold what its hash says", "an intact file", "Fetch it again.")
    info = _info(path, header, network, content)
    _check_pinned(path, info.sha256)
    return info


def _digest(path: Path, header: Header, state: dict[str, Tensor], fill: bool) -> str:
    """The sha256 of the content, of which every tensor is checked and, to `fill`, copied into `state`."""
    digest = ContentDigest()
    for name, tensor in read_tensors(path, header):
        if problem := value_problem(name, tensor):
            raise WeightsError(f"{quoted(path)}: {problem}", "finite values", "Take other weights; these are broken.")
        digest.update(name, tensor)
        if is_antialias(name):
            check_antialias(path, name, tensor, state[name])
        elif fill:
            state[name].copy_(tensor)
    return digest.hexdigest()


def _check_pinned(path: Path, sha256: str) -> None:
    """A shipped file must have the hash that the list beside it gives, where there is a list."""
    pins = path.parent / "SHA256SUMS"
    if path.parent != PRETRAINED or not pins.is_file():
        return
    if f"{sha256}  {path.name}" not in pins.read_text().splitlines():
        raise WeightsError(f"{quoted(path)} has sha256 {sha256}", f"that of {pins.name}", "Install the package again.")


def _info(path: Path, header: Header, network: Network, content: str) -> WeightsInfo:
    matrices = {entry.dtype for entry in header.entries.values() if len(entry.shape) > 1}
    return WeightsInfo(
        preset=network.config.preset,
        path=path,
        sha256=sha256_of_file(path),
        content_sha256=content,
        card=read_card(path, header),
        params=sum(parameter.numel() for parameter in network.parameters()),
        dtype="+".join(sorted(matrices)),
        version=header.metadata.get("version", ""),
        created_from=header.metadata.get("created_from"),
        activation_scales=read_scales(path, network.config.preset, header.metadata),
    )
