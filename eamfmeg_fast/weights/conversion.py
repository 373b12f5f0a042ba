"""Make a weights file of a published checkpoint."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights.checkpoint import TENSORS, canonical_names, read_checkpoint
from eamfmeg_fast.weights.header import Header, file_size, quoted, read_header, sniff
from eamfmeg_fast.weights.inspection import FLOATS, inspect
from eamfmeg_fast.weights.reader import check_antialias, check_types, open_tensors
from eamfmeg_fast.weights.report import WeightsReport
from eamfmeg_fast.weights.shapes import (
    blank_network,
    expected_shapes,
    first_mismatch,
    guess_preset,
    is_antialias,
    is_regenerated,
)
from eamfmeg_fast.weights.writer import FORMAT, check_disk_dtype, make_metadata, on_disk, sha256_of_file, write_weights


def convert(
    src: str | Path,
    dst: str | Path,
    *,
    preset: str | None = None,
    dtype: torch.dtype = torch.float32,
    card: dict[str, Any] | None = None,
    overwrite: bool = False,
    seconds: float = 300.0,
    memory_bytes: int | None = None,
) -> WeightsReport:
    """Write a checkpoint as a weights file; nothing in it is run.

    Taken are the published layouts (with or without edge head and attention, with or without the `module.` of
    DataParallel; discriminator, optimizers and epoch are left out) and the same tensors as safetensors. A torch.save
    file is read by a process with limits on time, memory and files; whatever it gives is checked again here.

    Args:
        src: the checkpoint; dst: the `.safetensors` file to write, in one step; overwrite: even if it exists.
        preset: what it must be; default: the preset whose names and shapes it has. dtype: of matrices on disk.
        card: added to the model card, which names the original file and its epoch.
        seconds, memory_bytes: most that the reading process may take.

    Raises:
        WeightsError: a file that is damaged, hostile, of another network or holds NaN, or `dst` exists.
        OptionError, DtypeError: no such preset, or another `dtype`.
        BackendError: this system cannot limit a process.
    """
    src, dst, card = Path(src), Path(dst), card or {}
    _check_arguments(src, dst, preset, dtype, overwrite)
    kind, origin = sniff(src), {"converted_from": src.name}
    if kind == "safetensors":
        left_out = _write(src, src, dst, preset, dtype, origin | card)
        return replace(inspect(dst), left_out=left_out)
    with tempfile.TemporaryDirectory(prefix=".eamfmeg-", dir=dst.parent.resolve()) as name:
        folder = Path(name)
        listing = read_checkpoint(src, kind, folder, write=True, seconds=seconds, memory_bytes=memory_bytes)
        epoch = {} if listing.epoch is None else {"epoch": listing.epoch}
        others = _write(src, folder / TENSORS, dst, preset, dtype, origin | epoch | card)
    return replace(inspect(dst), left_out=listing.left_out + others, epoch=listing.epoch)


def _check_arguments(src: Path, dst: Path, preset: str | None, dtype: torch.dtype, overwrite: bool) -> None:
    check_disk_dtype(dtype)
    if preset is not None:
        expected_shapes(preset)
    file_size(src, LIMITS.max_checkpoint_bytes)
    if dst.suffix != ".safetensors":
        raise WeightsError(f"output name {quoted(dst.name)}", "a name that ends in .safetensors")
    if not dst.parent.is_dir():
        raise WeightsError(f"no folder {quoted(dst.parent)}", "a folder to write in", "Make it first.")
    if dst.exists() and (not overwrite or not dst.is_file() or dst.samefile(src)):
        raise WeightsError(f"{quoted(dst)} exists", "a new file name", "Choose another name or allow to overwrite.")


def _write(
    src: Path,
    raw: Path,
    dst: Path,
    preset: str | None,
    dtype: torch.dtype,
    card: dict[str, Any],
) -> tuple[str, ...]:
    """Check what was read of `src` into the safetensors file `raw`, then write it; returns what is no part."""
    header = read_header(raw)
    if header.metadata.get("format") == FORMAT:
        raise WeightsError(f"{quoted(src)} is a weights file already", "a checkpoint", "Load it as it is.")
    names, left_out = canonical_names(src, header.entries)
    entries = {name: header.entries[foreign] for name, foreign in names.items()}
    shapes = {name: entry.shape for name, entry in entries.items()}
    preset = preset or guess_preset(shapes)
    if wrong := first_mismatch(shapes, preset):
        raise WeightsError(f"{quoted(src)}: {wrong.got}", wrong.wanted, "Name the preset that it was trained with.")
    check_types(src, Header(entries, {}, 0), FLOATS)
    kernels = blank_network(preset).state_dict()
    with open_tensors(raw) as get:
        for name in filter(is_antialias, names):
            check_antialias(src, name, get(names[name]), kernels[name])
        stored = [name for name in names if not is_regenerated(name)]
        metadata = make_metadata(preset, card, sha256_of_file(src))
        write_weights(dst, stored, lambda name: on_disk(name, get(names[name]), dtype), metadata)
    return left_out
