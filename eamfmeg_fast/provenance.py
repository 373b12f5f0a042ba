"""Says that a clip is synthetic and what it was made from: a mark inside it, a manifest beside it, and their check."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from eamfmeg_fast import __version__
from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.mark import DIGITAL_SOURCE_TYPE, DIGITAL_SOURCE_TYPES, find_mark
from eamfmeg_fast.media.safe_file import (
    MANIFEST_JSON,
    media_errors,
    open_regular,
    read_json,
    shown,
    write_text_aside,
)

_CHUNK = 1 << 20
_MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Mark:
    """What every output carries inside.

    Attributes:
        target_sha256, driving_sha256, weights_sha256: of what it was made from (`sha256_of`); "" where there was none.
        options: how it was made; plain values.
        software, version: what made it.
        digital_source_type: IPTC's address for "made by a trained model", or `media.mark.ALTERED_PHOTO` for a
            photograph that the lab's muscles moved: an algorithm altered it, no model drew it.
    """

    target_sha256: str = ""
    driving_sha256: str = ""
    weights_sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    software: str = "eamfmeg_fast"
    version: str = __version__
    digital_source_type: str = DIGITAL_SOURCE_TYPE

    def to_json(self) -> str:
        """One JSON object on one line, ASCII."""
        return json.dumps(plain(asdict(self)), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Mark:
        """The mark that `to_json` wrote; unknown keys are left out, so that later versions can add some.

        Raises:
            MediaError: no JSON object, or values of the wrong kind.
        """
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise MediaError("the mark is no JSON object", "what this software writes")
        known = {item.name: given[item.name] for item in fields(cls) if item.name in given}
        for name, value in known.items():
            if not isinstance(value, dict if name == "options" else str):
                raise MediaError(f"the mark's {name} is a {type(value).__name__}", "what this software writes")
        return cls(**known)


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        path: the output looked at.
        mark: the mark inside it, or None.
        manifest: what the manifest says, or None.
        problems: one line for each thing that is not as it was written; empty when all is well.
    """

    path: Path
    mark: Mark | None
    manifest: dict[str, Any] | None
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def plain(value: Any) -> Any:
    """A value as JSON can hold it: keys as text, tuples as lists, NaN and infinity as null, all else as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def read_mark(path: str | os.PathLike[str]) -> Mark | None:
    """The mark inside an mp4, GIF, PNG or folder of PNGs (of its first frame); None where there is none.

    Raises:
        MediaError: the file cannot be read.
    """
    text = find_mark(path)
    return None if text is None else Mark.from_json(text)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 as hex digits of a file, or of a folder's files by name, without its manifest and hidden ones.

    Of a folder, each file counts with its name and length, so that neither can be changed unseen.

    Raises:
        MediaError: missing, unreadable, or something else than regular files is in it.
    """
    digest = hashlib.sha256()
    if not os.path.isdir(path):
        _add_file(digest, Path(path))
        return digest.hexdigest()
    with media_errors(path):
        for name, file in sorted(_files_in(Path(path))):
            digest.update(f"{name}\0{os.stat(file).st_size}\0".encode("utf-8", "surrogateescape"))
            _add_file(digest, file)
    return digest.hexdigest()


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent, name)
            relative = file.relative_to(folder).as_posix()
            if not name.startswith(".") and relative != MANIFEST_JSON:
                yield relative, file


def _add_file(digest: Any, path: Path) -> None:
    with open_regular(path) as file, media_errors(path):
        while block := file.read(_CHUNK):
            digest.update(block)


def manifest_path(output: str | os.PathLike[str]) -> Path:
    """Where an output's manifest lies: "out.mp4" -> "out.mp4.json", a folder -> "manifest.json" in it."""
    output = Path(output)
    return output / MANIFEST_JSON if output.is_dir() else output.with_name(output.name + ".json")


def write_manifest(output: str | os.PathLike[str], mark: Mark, report: Mapping[str, Any] | None = None) -> Path:
    """Writes what an output was made from, its hash and a report beside it, aside first.

    Args:
        output: a finished mp4, GIF, PNG or folder.
        mark: the mark that is inside.
        report: anything worth keeping: frame counts, timings, frames in which the face was lost.

    Returns:
        Path of the manifest.

    Raises:
        MediaError: the output cannot be read, or the manifest cannot be written.
    """
    place = manifest_path(output)
    manifest = {
        "manifest_version": _MANIFEST_VERSION,
        "output": Path(output).name,
        "output_sha256": sha256_of(output),
        "mark": asdict(mark),
        "report": dict(report or {}),
    }
    write_text_aside(place, json.dumps(plain(manifest), indent=2, sort_keys=True) + "\n")
    return place


def verify(path: str | os.PathLike[str]) -> Verification:
    """Checks that an output carries its mark and is, byte for byte, what its manifest says.

    Raises:
        MediaError: the output itself cannot be read.
    """
    mark, manifest, problems = read_mark(path), None, []
    place = manifest_path(path)
    if mark is None:
        problems.append(f"{shown(path)} carries no mark")
    elif mark.digital_source_type not in DIGITAL_SOURCE_TYPES:
        problems.append(f"{shown(path)} is marked as {mark.digital_source_type[:100]!r}")
    try:
        manifest = read_json(place, "a manifest that this software wrote")
    except MediaError as error:
        problems.append(str(error))
    if manifest is not None:
        if manifest.get("output_sha256") != sha256_of(path):
            problems.append(f"{shown(path)} is not the file that {shown(place)} was written for")
        if mark is not None and manifest.get("mark") != json.loads(mark.to_json()):
            problems.append(f"the mark in {shown(path)} is not the one in {shown(place)}")
    return Verification(Path(path), mark, manifest, tuple(problems))
