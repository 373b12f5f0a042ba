"""The first look at a file: is it a plain file of sane size, what is it, and what does its safetensors header promise.

The library parses the header again before it maps a tensor; this pass bounds its size first, refuses duplicate keys
(a JSON parser keeps the last silently) and says what is wrong in one line.
"""

from __future__ import annotations

import json
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import WeightsError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

CONVERT = "Run `eamfmeg convert FILE OUT.safetensors` once and load its output."
STREAM_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_ZIP_MAGIC = b"PK\x03\x04"
_SNIFF_BYTES = 64
_MAX_TENSORS = 1 << 16
_MAX_RANK = 8
_MAX_QUOTED = 100
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch it with `git lfs pull`."),
    (b"<", "a web page or XML", "The download failed: fetch the file again."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"PK", "a damaged or empty zip archive", "Fetch the file again."),
    (b"\x80", "a serialised object that torch.save did not write", "Only checkpoints of torch.save are read."),
)


class Entry(NamedTuple):
    """One tensor of a file: safetensors dtype name, shape, first and last + 1 byte in the data area."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numel(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The checked header of a safetensors file."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    file_bytes: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: entry.shape for name, entry in self.entries.items()}


def quoted(text: object) -> str:
    """Foreign text, fit for a one-line message: no control characters, never long."""
    plain = str(text)
    plain = plain if plain.isprintable() else ascii(plain)
    return plain if len(plain) <= _MAX_QUOTED else f"{plain[:40]}...{plain[-40:]}"


def file_size(path: Path, limit: int) -> int:
    """Bytes in the regular file `path`.

    Raises:
        WeightsError: missing, not a regular file (folder, pipe, device), empty or larger than `limit`.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise WeightsError(f"cannot read {quoted(path)}: {reason}", "a weights file", "Check the path.") from error
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{quoted(path)} is no regular file", "a weights file", "Name the file itself.")
    if status.st_size == 0:
        raise WeightsError(f"{quoted(path)} is empty", "a weights file", "Fetch it again.")
    if status.st_size > limit:
        raise WeightsError(f"{quoted(path)} has {status.st_size} bytes", f"at most {limit}")
    return status.st_size


def sniff(path: Path) -> str:
    """What the first bytes of `path` say: "safetensors", "zip" or "stream" (the two formats of torch.save).

    Raises:
        WeightsError: none of the three.
    """
    with _opened(path) as file:
        start = file.read(_SNIFF_BYTES)
    if start.startswith(_ZIP_MAGIC):
        return "zip"
    if start.startswith(STREAM_MAGIC):
        return "stream"
    if start[8:9] == b"{":
        return "safetensors"
    for magic, what, fix in _FOREIGN:
        if start.startswith(magic):
            raise WeightsError(f"{quoted(path)} is {what}", "a .safetensors file or a torch.save checkpoint", fix)
    raise WeightsError(f"{quoted(path)} is of an unknown kind", "a .safetensors file or a torch.save checkpoint")


def read_header(path: Path, limit: int = LIMITS.max_weights_bytes) -> Header:
    """Read and check the safetensors header of `path`, no tensor.

    Raises:
        WeightsError: not such a file, too large, or a header that lies (sizes, offsets, overlaps, duplicate keys).
    """
    size = file_size(path, limit)
    with _opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LIMITS.max_header_bytes or length + 8 > size:
            raise _damaged(path, f"a header of {length} bytes in a file of {size}")
        text = file.read(length)
    if len(text) != length:
        raise _damaged(path, "a header that ends early")
    try:
        fields = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is no JSON object: {error}") from error
    if not isinstance(fields, dict) or len(fields) > _MAX_TENSORS:
        raise _damaged(path, f"a header that is no JSON object of at most {_MAX_TENSORS} tensors")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "metadata that is not text")
    entries = {name: _entry(path, name, field) for name, field in fields.items()}
    _check_layout(path, entries, size - 8 - length)
    return Header(entries, metadata, size)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise WeightsError(f"cannot read {quoted(path)}: {error.strerror}", "", "Check its permissions.") from error


def _damaged(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{quoted(path)} has {quoted(what)}", "an intact safetensors file", "Fetch it again.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("the same key twice")
    return fields


def _entry(path: Path, name: str, field: object) -> Entry:
    if not isinstance(field, dict) or set(field) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"no dtype, shape and data_offsets for {quoted(name)}")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"{quoted(path)}: tensor {quoted(name)} is {quoted(dtype)}", f"one of {', '.join(DTYPES)}")
    if not (_naturals(shape) and len(shape) <= _MAX_RANK and _naturals(offsets) and len(offsets) == 2):
        raise _damaged(path, f"no plain shape and offsets for {quoted(name)}")
    entry = Entry(dtype, tuple(shape), *offsets)
    if entry.end - entry.begin != entry.numel * DTYPES[dtype].itemsize:
        raise _damaged(path, f"{entry.end - entry.begin} bytes for {quoted(name)} of shape {list(shape)}")
    return entry


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _check_layout(path: Path, entries: dict[str, Entry], data_bytes: int) -> None:
    """Tensors must fill the data area exactly: no hole, no overlap, nothing behind the last."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise _damaged(path, f"a hole or an overlap before {quoted(name)}")
        end = entry.end
    if end != data_bytes:
        raise _damaged(path, f"{data_bytes} bytes of data where {end} are described")
