"""Have a checkpoint of torch.save read by a process with limits, and distrust its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import BackendError, WeightsError
from eamfmeg_fast.weights.header import DTYPES, Entry, quoted
from eamfmeg_fast.weights.shapes import PARTS

TENSORS = "tensors.safetensors"

_CHILD = Path(__file__).with_name("child.py")
_REPORT = "report.json"
_SPARE_BYTES = 512 << 20
_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class Listing:
    """What the process saw in a checkpoint.

    Attributes:
        entries: the tensors of the parts, by their raw names; offsets are 0.
        broken: raw names of tensors with NaN or infinite values; empty unless only a listing was asked for.
        left_out: the other entries. epoch: if it says.
    """

    entries: dict[str, Entry]
    broken: tuple[str, ...]
    left_out: tuple[str, ...]
    epoch: int | None


def read_checkpoint(
    path: Path, kind: str, folder: Path, *, write: bool, seconds: float, memory_bytes: int | None = None
) -> Listing:
    """List the tensors of a checkpoint; with `write`, also put them into `folder / TENSORS`, unchecked.

    Args:
        path: the checkpoint; kind: "zip" or "stream".
        folder: empty and absolute, for the process to work in.
        seconds: of wall clock and of CPU.
        memory_bytes: beyond what the libraries take; default: twice the file and 512 MiB.

    Raises:
        WeightsError: the process refused the file, died or took too long.
        BackendError: this system has no resource limits.
    """
    if os.name != "posix":
        raise BackendError("this system cannot limit a process", "Linux or macOS", "Convert the checkpoint there.")
    options = {
        "path": str(path.resolve()),
        "format": kind,
        "report": str(folder / _REPORT),
        "tensors": str(folder / TENSORS),
        "write": write,
        "seconds": seconds,
        "memory_bytes": memory_bytes or 2 * path.stat().st_size + _SPARE_BYTES,
        "max_file_bytes": LIMITS.max_weights_bytes,
        "import_from": [str(Path(torch.__file__).parents[1])],
    }
    code = _run_child(path, options, folder, seconds)
    answer = _answer(path, folder / _REPORT, code)
    if isinstance(refused := answer.get("refused"), dict):
        got, expected, fix = (quoted(refused.get(key, "")) for key in ("got", "expected", "fix"))
        raise WeightsError(f"{quoted(path)}: {got}", expected, fix)
    return _listing(path, answer)


def canonical_names(path: Path, names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Name in our files -> name in a foreign one, without the `module.` of DataParallel; and what is no part.

    Raises:
        WeightsError: two names become one.
    """
    kept: dict[str, str] = {}
    left_out: dict[str, None] = {}
    for raw in names:
        part, _, key = raw.removeprefix("module.").partition(".")
        if part not in PARTS:
            left_out[quoted(part)] = None
            continue
        name = f"{part}.{key.removeprefix('module.')}"
        if name in kept:
            raise WeightsError(f"{quoted(path)}: {quoted(raw)} and {quoted(kept[name])} are one tensor", "one of them")
        kept[name] = raw
    return kept, tuple(left_out)


def _run_child(path: Path, options: dict[str, Any], folder: Path, seconds: float) -> int:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(_CHILD), json.dumps(options)],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"reading {quoted(path)} took more than {seconds:g} s", "", "Allow more time.") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answer(path: Path, report: Path, code: int) -> dict[str, Any]:
    try:
        with report.open("rb") as file:
            answer = json.loads(file.read(LIMITS.max_header_bytes))
    except (OSError, ValueError, RecursionError):
        answer = None
    if code != 0 or not isinstance(answer, dict):
        raise WeightsError(f"the process that read {quoted(path)} died (code {code})", "an intact checkpoint")
    return answer


def _listing(path: Path, answer: dict[str, Any]) -> Listing:
    """The answer as a Listing; a process that was taken over could have written anything."""
    try:
        rows, left_out, epoch = answer["tensors"], answer["left_out"], answer["epoch"]
        entries = {name: Entry(row["dtype"], tuple(row["shape"]), 0, 0) for name, row in rows.items()}
        sides = [side for entry in entries.values() for side in entry.shape]
        sane = all(type(side) is int for side in sides) and all(entry.dtype in DTYPES for entry in entries.values())
        broken = tuple(name for name, row in rows.items() if row["finite"] is False)
        others = tuple(f"{quoted(name)} ({int(count)})" for name, count in left_out.items())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"the process that read {quoted(path)} gave a senseless answer") from error
    if not sane or not (epoch is None or type(epoch) is int):
        raise WeightsError(f"the process that read {quoted(path)} gave a senseless answer")
    return Listing(entries, broken, others, epoch)
