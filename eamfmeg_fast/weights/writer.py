"""Write a weights file: streaming, the same bytes for the same numbers, never half under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

import eamfmeg_fast
from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import DtypeError, WeightsError
from eamfmeg_fast.weights.header import DTYPE_NAMES, DTYPES, quoted
from eamfmeg_fast.weights.scales import SCALES, scales_text
from eamfmeg_fast.weights.shapes import value_problem

FORMAT = "eamfmeg_fast"
FORMAT_VERSION = "1"
DISK_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class ContentDigest:
    """sha256 over name, dtype, shape and bytes of every tensor; feed the tensors in order of their names."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, name: str, tensor: Tensor) -> None:
        """Take in one tensor."""
        shape = ",".join(str(side) for side in tensor.shape)
        self._hash.update(f"{name}\0{DTYPE_NAMES[tensor.dtype]}\0{shape}\0".encode())
        self._hash.update(raw_bytes(tensor))

    def hexdigest(self) -> str:
        """The digest of everything taken in so far, in hexadecimal."""
        return self._hash.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a CPU tensor, without a copy where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def sha256_of_file(path: Path) -> str:
    """sha256 of the bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def on_disk(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as it is stored: on the CPU, in `dtype` if it has several dimensions, else in float32.

    Vectors (biases, batch norm, gamma) are a hundredth of the bytes, and a running variance rounded to half precision
    shifts every activation behind it.
    """
    return tensor.detach().to("cpu", dtype if tensor.dim() > 1 else torch.float32)


def check_disk_dtype(dtype: torch.dtype) -> None:
    """Raises DtypeError for a type that weights files do not have."""
    if dtype not in DISK_DTYPES:
        raise DtypeError(f"weights dtype {dtype}", f"one of {', '.join(str(item) for item in DISK_DTYPES)}")


def make_metadata(
    preset: str,
    card: dict[str, Any] | None,
    created_from: str | None,
    activation_scales: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """The metadata of a file, all text; the content's sha256 is added when it is written.

    Raises:
        WeightsError: the card is no JSON object, or scales that `check_scales` refuses.
    """
    try:
        text = json.dumps(card or {}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the model card cannot be stored ({error})", "a dict of JSON values") from error
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "preset": preset,
        "version": eamfmeg_fast.__version__,
        "card": text,
    }
    metadata |= {} if created_from is None else {"created_from": created_from}
    return metadata if activation_scales is None else metadata | {SCALES: scales_text(preset, activation_scales)}


def write_weights(path: Path, names: Iterable[str], get: Callable[[str], Tensor], metadata: dict[str, str]) -> None:
    """Check every tensor, then write all of them to `path` in one step.

    Args:
        path: of the file; replaced if it exists.
        names: of the tensors.
        get: gives the CPU tensor of a name as it is to be stored; called twice per name, so no second copy is held.
        metadata: text; the content's sha256 is added.

    Raises:
        WeightsError: a value that `load_network` would refuse, too large a header, or a file that cannot be written.
    """
    digest, rows = ContentDigest(), {}
    for name in sorted(names):
        tensor = get(name)
        if problem := value_problem(name, tensor):
            raise WeightsError(problem, "finite values that fit the stored type", "Train or convert again.")
        digest.update(name, tensor)
        rows[name] = (DTYPE_NAMES[tensor.dtype], list(tensor.shape), tensor.numel() * tensor.element_size())
    layout, end = {}, 0
    # The widest types first keeps every tensor aligned.
    for name in sorted(rows, key=lambda name: (-DTYPES[rows[name][0]].itemsize, name)):
        dtype, shape, size = rows[name]
        layout[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    # The library writes its metadata in random order: the same network would give another file hash each time.
    header = _header_bytes({"__metadata__": metadata | {"sha256": digest.hexdigest()}} | layout)
    with written_aside(path) as file:
        file.write(header)
        for name in layout:
            file.write(raw_bytes(get(name)))


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place on a clean exit and vanishes otherwise.

    Raises:
        WeightsError: the folder is missing or cannot be written.
    """
    aside = path.with_name(f".{path.name[:64]}.{secrets.token_hex(6)}.part")
    try:
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot write {quoted(path)}: {_reason(error)}", "", "Check the folder.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise WeightsError(f"cannot write {quoted(path)}: {_reason(error)}", "", "Check space and rights.") from error
    finally:
        aside.unlink(missing_ok=True)


def _header_bytes(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LIMITS.max_header_bytes:
        raise WeightsError(f"a header of {len(text)} bytes", f"at most {LIMITS.max_header_bytes}", "Shorten the card.")
    return len(text).to_bytes(8, "little") + text


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "not a file name"
