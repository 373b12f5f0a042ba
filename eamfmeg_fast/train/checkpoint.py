"""Training checkpoints: a folder of safetensors shards and an index, replaced whole.

A parameter takes 7 bytes: 3 for itself (`high.<name>` bfloat16 and `low.<name>` uint8, see `rounding.split`) and 2 for
each moment (`mean.<name>`, `square.<name>`, bfloat16). That is all that a run remembers, so nothing is lost. Buffers
are stored as they are. Shards are named by their content and the index comes last: whenever a run dies, the index names
a whole checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from eamfmeg_fast.errors import OptionError, WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.train.adam import ShortAdam
from eamfmeg_fast.train.rounding import joined, split
from eamfmeg_fast.weights.shapes import is_antialias
from eamfmeg_fast.weights.writer import written_aside

MAX_SHARD_BYTES = 16_000_000
MAX_BYTES = 60_000_000

_INDEX = "index.json"
_FORMAT = "eamfmeg_fast checkpoint 1"
_SHARD = re.compile(r"\d{8}-[0-9a-f]{16}\.safetensors")
_MAX_INDEX_BYTES = 1 << 16
_HEADER_BYTES = 120
"""Of a tensor's entry in a shard's header, without its name: more than it can take."""
_FIX = "Delete it to start again, or resume with the options it was made with."


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        step: steps done. signature: names the options that the checkpoint belongs to.
        seconds: of training so far. pictures: that the network saw.
    """

    step: int
    signature: str
    seconds: float = 0.0
    pictures: int = 0


def exists(folder: Path) -> bool:
    """Whether a checkpoint, whole or damaged, is there."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def stored_bytes(network: Network) -> int:
    """What a checkpoint of `network` takes on disk, at most (headers are counted generously).

    Raises:
        OptionError: more than 60 MB in all, or a tensor of more than 16 MB.
    """
    sizes = {name: 7 * parameter.numel() for name, parameter in network.named_parameters()}
    largest = max(sizes, key=lambda name: sizes[name])
    total = sum(size + 4 * (len(name) + 8 + _HEADER_BYTES) for name, size in sizes.items())
    total += sum(_room(name, tensor) for name, tensor in _buffers(network).items()) + _MAX_INDEX_BYTES
    if total > MAX_BYTES:
        raise OptionError(f"a network whose checkpoint takes {total} bytes", f"at most {MAX_BYTES}", "Make it smaller.")
    if 2 * sizes[largest] // 7 + len(largest) + 2 * _HEADER_BYTES > MAX_SHARD_BYTES:
        raise OptionError(f"{largest} of {sizes[largest] // 7} numbers", f"shards of {MAX_SHARD_BYTES} bytes")
    return total


def save_checkpoint(folder: Path, network: Network, optimiser: ShortAdam, position: Position) -> None:
    """Put a checkpoint into `folder`, in place of the one that is there.

    Raises:
        WeightsError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"cannot make {folder}: {error.strerror}", "", "Choose another folder.") from error
    shards = [_write_shard(folder, position.step, tensors) for tensors in _packed(_tensors(network, optimiser))]
    counts = {part: moments.count for part, moments in optimiser.parts.items()}
    index = {"format": _FORMAT} | asdict(position) | {"preset": network.config.preset, "counts": counts}
    with written_aside(folder / _INDEX) as file:
        file.write(json.dumps(index | {"shards": shards}, indent=1).encode())
    kept = {shard["file"] for shard in shards}
    for path in folder.iterdir():
        if path.name not in kept and (_SHARD.fullmatch(path.name) or path.name.endswith(".part")):
            path.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, network: Network, optimiser: ShortAdam | None = None, signature: str | None = None
) -> Position:
    """Load what `save_checkpoint` wrote into `network` and, if given, `optimiser`; without one, into any network of the
    same configuration.

    Raises:
        WeightsError: damaged, not a checkpoint, of another network or, where `signature` is given, of other options.
    """
    index = _read_index(folder)
    if signature is not None and index["signature"] != signature:
        raise WeightsError(f"checkpoint {folder} belongs to a run with other options", "the same", _FIX)
    tensors: dict[str, Tensor] = {}
    for shard in index["shards"]:
        tensors |= _read_shard(folder, shard)
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in _blank(network).items()}
    if {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} != wanted:
        raise WeightsError(f"checkpoint {folder} holds another network", "this configuration's", _FIX)
    _fill(network, tensors)
    if optimiser is not None:
        for part, moments in optimiser.parts.items():
            moments.count = index["counts"][part]
            for name, mean, square in moments.named():
                mean.copy_(tensors[f"mean.{name}"])
                square.copy_(tensors[f"square.{name}"])
    return Position(index["step"], index["signature"], index["seconds"], index["pictures"])


def _tensors(network: Network, optimiser: ShortAdam) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        high, low = split(parameter)
        yield f"high.{name}", high
        yield f"low.{name}", low
    for moments in optimiser.parts.values():
        for name, mean, square in moments.named():
            yield f"mean.{name}", mean.cpu().contiguous()
            yield f"square.{name}", square.cpu().contiguous()
    for name, buffer in _buffers(network).items():
        yield f"buffer.{name}", buffer.cpu().contiguous()


def _buffers(network: Network) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in network.named_buffers() if not is_antialias(name)}


def _blank(network: Network) -> dict[str, Tensor]:
    """Shapes and types of a checkpoint of `network`, without memory."""
    out = {f"buffer.{name}": torch.empty_like(buffer, device="meta") for name, buffer in _buffers(network).items()}
    for name, parameter in network.named_parameters():
        for kind in ("high", "mean", "square"):
            out[f"{kind}.{name}"] = torch.empty(parameter.shape, dtype=torch.bfloat16, device="meta")
        out[f"low.{name}"] = torch.empty(parameter.shape, dtype=torch.uint8, device="meta")
    return out


@torch.no_grad()
def _fill(network: Network, tensors: dict[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(joined(tensors[f"high.{name}"], tensors[f"low.{name}"]))
    for name, buffer in _buffers(network).items():
        buffer.copy_(tensors[f"buffer.{name}"])


def _room(name: str, tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size() + len(name) + _HEADER_BYTES


def _packed(tensors: Iterator[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    room = 0
    for name, tensor in tensors:
        size = _room(name, tensor)
        if shard and room + size > MAX_SHARD_BYTES:
            yield shard
            shard, room = {}, 0
        shard[name] = tensor
        room += size
    yield shard


def _write_shard(folder: Path, step: int, tensors: dict[str, Tensor]) -> dict[str, Any]:
    data = save(tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{step:08d}-{sha256[:16]}.safetensors"
    with written_aside(path) as file:
        file.write(data)
    return {"file": path.name, "bytes": len(data), "sha256": sha256}


def _damaged(folder: Path, what: str) -> WeightsError:
    return WeightsError(f"checkpoint {folder} cannot be read: {what}", "a whole checkpoint", _FIX)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    try:
        with path.open("rb") as file:
            index = json.loads(file.read(_MAX_INDEX_BYTES))
    except OSError as error:
        raise _damaged(folder, f"{_INDEX}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"{_INDEX} is no JSON") from error
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise _damaged(folder, f"{_INDEX} is not of the format {_FORMAT!r}")
    kinds = {"step": int, "signature": str, "seconds": float, "pictures": int, "counts": dict, "shards": list}
    if wrong := [name for name, kind in kinds.items() if not isinstance(index.get(name), kind)]:
        raise _damaged(folder, f"{_INDEX} has no {wrong[0]}")
    counts = index["counts"]
    if set(counts) != {"front", "decoder"} or not all(isinstance(count, int) for count in counts.values()):
        raise _damaged(folder, f"{_INDEX} has other counts")
    return index


def _read_shard(folder: Path, shard: object) -> dict[str, Tensor]:
    name = shard.get("file") if isinstance(shard, dict) else None
    if not isinstance(shard, dict) or not isinstance(name, str) or not _SHARD.fullmatch(name):
        raise _damaged(folder, f"{_INDEX} names no shard")
    path = folder / name
    try:
        if path.stat().st_size > MAX_SHARD_BYTES:
            raise _damaged(folder, f"{name} is too large")
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(folder, f"{name}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != shard.get("sha256"):
        raise _damaged(folder, f"{name} is not what {_INDEX} says")
    try:
        return load(data)
    except SafetensorError as error:
        raise _damaged(folder, f"{name} is no safetensors file") from error
