"""Look into a weights file or a checkpoint and say what is in it, without loading it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from eamfmeg_fast.config import LIMITS, PRESETS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights.checkpoint import canonical_names, read_checkpoint
from eamfmeg_fast.weights.header import DTYPES, Entry, Header, file_size, quoted, read_header, sniff
from eamfmeg_fast.weights.reader import check_antialias, check_metadata, check_types, read_card, read_tensors
from eamfmeg_fast.weights.report import PartReport, WeightsReport
from eamfmeg_fast.weights.scales import SCALES
from eamfmeg_fast.weights.shapes import (
    PARTS,
    Mismatch,
    blank_network,
    first_mismatch,
    guess_preset,
    is_antialias,
    value_problem,
)
from eamfmeg_fast.weights.writer import FORMAT, ContentDigest, sha256_of_file

FLOATS = ("F32", "F16", "BF16", "F64")


def inspect(path: str | Path, *, seconds: float = 300.0) -> WeightsReport:
    """What is in `path`: parts, preset, the first mismatch, values, card and provenance.

    A checkpoint is listed by a process with limits; nothing in it is run.

    Args:
        path: a `.safetensors` file or a torch.save checkpoint.
        seconds: most that the process may take.

    Raises:
        WeightsError: the file cannot be read at all. What can be read but not loaded is in the report's `problems`.
    """
    path = Path(path)
    file_size(path, LIMITS.max_checkpoint_bytes)
    kind = sniff(path)
    if kind != "safetensors":
        return _inspect_checkpoint(path, kind, seconds)
    header = read_header(path)
    return (_inspect_ours if header.metadata.get("format") == FORMAT else _inspect_foreign)(path, header)


def _inspect_ours(path: Path, header: Header) -> WeightsReport:
    stated = header.metadata.get("preset", "")
    known = stated in PRESETS
    problems, card = [], {}
    try:
        check_metadata(path, header)
        card = read_card(path, header)
        check_types(path, header)
    except WeightsError as error:
        problems.append(error.got)
    preset = stated if known else guess_preset(header.shapes)
    mismatch = first_mismatch(header.shapes, preset)
    found, digest = _scan(path, header, preset, mismatch)
    if digest != header.metadata.get("sha256"):
        found.append("the tensors are not those that the stated sha256 was made of")
    return WeightsReport(
        path=path,
        kind="weights",
        file_bytes=header.file_bytes,
        sha256=sha256_of_file(path),
        preset=preset,
        stated=known,
        parts=_parts(header.entries),
        mismatch=mismatch,
        problems=tuple(problems + _clause(mismatch) + found),
        card=card,
        version=header.metadata.get("version"),
        created_from=header.metadata.get("created_from"),
        content_sha256=digest,
        scaled=SCALES in header.metadata,
    )


def _inspect_foreign(path: Path, header: Header) -> WeightsReport:
    names, left_out = canonical_names(path, header.entries)
    entries = {name: header.entries[raw] for name, raw in names.items()}
    shapes = {name: entry.shape for name, entry in entries.items()}
    preset = guess_preset(shapes)
    mismatch = first_mismatch(shapes, preset)
    found = []
    try:
        check_types(path, Header(entries, {}, 0), FLOATS)
    except WeightsError as error:
        found.append(error.got)
    values, digest = _scan(path, header, preset, None)
    return WeightsReport(
        path=path,
        kind="safetensors",
        file_bytes=header.file_bytes,
        sha256=sha256_of_file(path),
        preset=preset,
        stated=False,
        parts=_parts(entries),
        left_out=left_out,
        mismatch=mismatch,
        problems=tuple(found + _clause(mismatch) + values),
        content_sha256=digest,
    )


def _inspect_checkpoint(path: Path, kind: str, seconds: float) -> WeightsReport:
    with tempfile.TemporaryDirectory(prefix="eamfmeg-") as folder:
        listing = read_checkpoint(path, kind, Path(folder), write=False, seconds=seconds)
    names, _ = canonical_names(path, listing.entries)
    entries = {name: listing.entries[raw] for name, raw in names.items()}
    shapes = {name: entry.shape for name, entry in entries.items()}
    preset = guess_preset(shapes)
    mismatch = first_mismatch(shapes, preset)
    broken = [f"tensor {quoted(name)} holds NaN or infinite values" for name in listing.broken]
    return WeightsReport(
        path=path,
        kind="checkpoint",
        file_bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        preset=preset,
        stated=False,
        parts=_parts(entries),
        left_out=listing.left_out,
        mismatch=mismatch,
        problems=tuple(_clause(mismatch) + broken),
        epoch=listing.epoch,
    )


def _scan(path: Path, header: Header, preset: str, mismatch: Mismatch | None) -> tuple[list[str], str]:
    """Problems with the values of all tensors, and the content's sha256."""
    state = {} if mismatch else blank_network(preset).state_dict()
    kernels = {name: tensor for name, tensor in state.items() if is_antialias(name)}
    problems, digest = [], ContentDigest()
    for name, tensor in read_tensors(path, header):
        digest.update(name, tensor)
        if problem := value_problem(name, tensor):
            problems.append(problem)
        if name in kernels and tensor.shape == kernels[name].shape:
            try:
                check_antialias(path, name, tensor, kernels[name])
            except WeightsError as error:
                problems.append(error.got)
    return problems, digest.hexdigest()


def _clause(mismatch: Mismatch | None) -> list[str]:
    return [] if mismatch is None else [f"{mismatch.got}; expected {mismatch.wanted}"]


def _parts(entries: Mapping[str, Entry]) -> tuple[PartReport, ...]:
    reports = []
    for part in PARTS:
        mine = [entry for name, entry in entries.items() if name.startswith(f"{part}.")]
        if mine:
            size = sum(entry.numel * DTYPES[entry.dtype].itemsize for entry in mine)
            types = tuple(sorted({entry.dtype for entry in mine}))
            reports.append(PartReport(part, len(mine), sum(entry.numel for entry in mine), size, types))
    return tuple(reports)
