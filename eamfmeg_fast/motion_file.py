"""Motion files: the keypoints of a driving clip without its pictures, to be put onto any target later."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from eamfmeg_fast.config import LIMITS, PRESETS
from eamfmeg_fast.errors import EamfmegError, MediaError
from eamfmeg_fast.media import parse_fps
from eamfmeg_fast.media.safe_file import Aside, media_errors, shown
from eamfmeg_fast.weights.header import Header, read_header

FORMAT = "eamfmeg_fast.motion"
FORMAT_VERSION = "1"
SUFFIX = ".safetensors"

_ROWS = 4096
_MAX_KP, _MAX_JACOBIAN, _MIN_DETERMINANT = 16.0, 1e4, 1e-6
_MAX_TEXT = 200
_PER_FRAME = ("index", "time", "kp", "jacobian")
_DTYPES: dict[str, np.dtype[Any]] = {"I64": np.dtype("<i8"), "F32": np.dtype("<f4")}
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class MotionRow:
    """Motion at one frame.

    Attributes:
        index: of the frame in the driving clip. time: seconds since that clip's first frame.
        kp: float32 `[K, 2]`, (x, y) in [-1, 1]. jacobian: float32 `[K, 2, 2]`.
    """

    index: int
    time: Fraction
    kp: Array
    jacobian: Array


@dataclass(frozen=True)
class MotionFacts:
    """What a motion file says about itself.

    Attributes:
        preset: network whose detector found the keypoints. weights_sha256: content hash of its weights.
        fps: frames per second of the driving clip. driving_sha256: of that clip. origin: number of its first frame.
        reference: index of the neutral frame. averaged: from there on so many frames, whose mean is the neutral face.
    """

    preset: str
    weights_sha256: str
    fps: Fraction
    driving_sha256: str = ""
    origin: int = 0
    reference: int = 0
    averaged: int = 1


def _shapes(num_kp: int, frames: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        "index": ("I64", (frames,)),
        "time": ("I64", (frames, 2)),
        "kp": ("F32", (frames, num_kp, 2)),
        "jacobian": ("F32", (frames, num_kp, 2, 2)),
        "initial_kp": ("F32", (num_kp, 2)),
        "initial_jacobian": ("F32", (num_kp, 2, 2)),
    }


class MotionWriter:
    """Writes a motion file row by row, aside first; memory does not grow with the clip. A context manager.

    Args:
        path: ends in .safetensors.
        facts: what the file shall say about itself.
        initial: keypoints `[K, 2]` and Jacobians `[K, 2, 2]` of the reference frame.

    Raises:
        MediaError: another suffix, or the file cannot be there.
    """

    def __init__(self, path: str | Path, facts: MotionFacts, initial: tuple[Array, Array]) -> None:
        self.path, self.facts, self.count = Path(path), facts, 0
        if self.path.suffix != SUFFIX:
            raise MediaError(f"motion file {shown(path)}", f"a name that ends in {SUFFIX}")
        self._fixed = {"initial_kp": initial[0], "initial_jacobian": initial[1]}
        self._aside, self._open = Aside(self.path), ExitStack()
        self._columns: dict[str, Any] = {}

    def __enter__(self) -> MotionWriter:
        try:
            self._aside.open()
            with media_errors(self.path, "written"):
                for name in _PER_FRAME:
                    file = tempfile.TemporaryFile(dir=self.path.absolute().parent)
                    self._columns[name] = self._open.enter_context(file)
        except BaseException:
            self.discard()
            raise
        return self

    def discard(self) -> None:
        """Leave nothing behind of a file that is not finished; harmless after the end."""
        self._open.close()
        self._aside.discard()

    def write(self, row: MotionRow) -> None:
        """Append one frame.

        Raises:
            MediaError: the disk is full.
        """
        with media_errors(self.path, "written"):
            self._columns["index"].write(np.asarray([row.index], "<i8").tobytes())
            self._columns["time"].write(np.asarray(row.time.as_integer_ratio(), "<i8").tobytes())
            self._columns["kp"].write(np.ascontiguousarray(row.kp, "<f4").tobytes())
            self._columns["jacobian"].write(np.ascontiguousarray(row.jacobian, "<f4").tobytes())
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with media_errors(self.path, "written"), self._aside.path.open("wb") as file:
                    self._assemble(file)
                self._aside.commit()
        finally:
            self.discard()

    def _assemble(self, file: BinaryIO) -> None:
        layout, end = {}, 0
        for name, (dtype, shape) in _shapes(len(self._fixed["initial_kp"]), self.count).items():
            size = int(np.prod(shape)) * _DTYPES[dtype].itemsize
            layout[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
            end += size
        header = json.dumps({"__metadata__": self._metadata()} | layout, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        file.write(len(header).to_bytes(8, "little") + header)
        for name in layout:
            if name in self._columns:
                self._columns[name].seek(0)
                while block := self._columns[name].read(1 << 20):
                    file.write(block)
            else:
                file.write(np.ascontiguousarray(self._fixed[name], "<f4").tobytes())

    def _metadata(self) -> dict[str, str]:
        facts = {name: str(value) for name, value in vars(self.facts).items()}
        return {"format": FORMAT, "format_version": FORMAT_VERSION} | facts


class MotionFile:
    """A motion file that has been checked from end to end; iterate to read it, as often as you like.

    Attributes:
        path: of the file. facts: what it says about itself. count: frames T.
        initial: keypoints `[K, 2]` and Jacobians `[K, 2, 2]` of the reference frame, float32.

    Raises:
        MediaError: not a motion file, damaged, or with values that no detector gives.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._header = read_header(self.path, LIMITS.max_weights_bytes)
        except EamfmegError as error:
            raise MediaError(error.got, "an intact motion file", "Save it again with `--save-motion`.") from error
        self.facts = _facts(self.path, self._header)
        self.count = self._check_shapes()
        with self.path.open("rb") as file:
            self._begin = 8 + int.from_bytes(file.read(8), "little")
            self.initial = (self._read(file, "initial_kp"), self._read(file, "initial_jacobian"))
        self._check_values()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[MotionRow]:
        for block in self._blocks():
            for index, time, kp, jacobian in zip(*block, strict=True):
                yield MotionRow(int(index), Fraction(int(time[0]), int(time[1])), kp, jacobian)

    def _check_shapes(self) -> int:
        shape = self._header.shapes.get("kp", ())
        frames, num_kp = (shape[0] if len(shape) == 3 else 0), PRESETS[self.facts.preset].num_kp
        found = {name: (entry.dtype, entry.shape) for name, entry in self._header.entries.items()}
        wanted = _shapes(num_kp, frames)
        if found != wanted or not frames:
            odd = next((name for name in [*wanted, *sorted(found)] if found.get(name) != wanted.get(name)), "kp")
            got = f"tensor {shown(odd)[:60]} is {found.get(odd, 'missing')}"
            raise self._broken(got, str(wanted.get(odd, "no such tensor")))
        return frames

    def _check_values(self) -> None:
        last_index, last_time = -1, Fraction(-(1 << 62))
        self._check_points(*self.initial)
        if not (np.abs(np.linalg.det(self.initial[1].astype(np.float64))) > _MIN_DETERMINANT).all():
            raise self._broken("a Jacobian of the reference frame is singular", "one that can be inverted")
        for index, time, kp, jacobian in self._blocks():
            self._check_points(kp, jacobian)
            if not (time[:, 1] > 0).all():
                raise self._broken("a time has no positive denominator", "seconds as numerator and denominator")
            times = [last_time, *(Fraction(int(a), int(b)) for a, b in time)]
            order = np.diff(np.concatenate([[last_index], index.astype(np.float64)]))
            if not (order > 0).all() or any(b <= a for a, b in zip(times, times[1:], strict=False)):
                raise self._broken("frame numbers or times do not grow", "frames in order")
            last_index, last_time = int(index[-1]), times[-1]

    def _check_points(self, kp: Array, jacobian: Array) -> None:
        for name, values, limit in (("kp", kp, _MAX_KP), ("jacobian", jacobian, _MAX_JACOBIAN)):
            if not (np.abs(values) <= limit).all():
                raise self._broken(f"{name} holds NaN or a value above {limit:g}", "what a keypoint detector gives")

    def _blocks(self) -> Iterator[tuple[Array, ...]]:
        with media_errors(self.path), self.path.open("rb") as file:
            for first in range(0, self.count, _ROWS):
                yield tuple(self._read(file, name, first, min(_ROWS, self.count - first)) for name in _PER_FRAME)

    def _read(self, file: BinaryIO, name: str, first: int = 0, rows: int | None = None) -> Array:
        entry = self._header.entries[name]
        shape = entry.shape if rows is None else (rows, *entry.shape[1:])
        dtype = _DTYPES[entry.dtype]
        row = int(np.prod(entry.shape[1:])) * dtype.itemsize
        file.seek(self._begin + entry.begin + first * row)
        data = file.read(int(np.prod(shape)) * dtype.itemsize)
        if len(data) != int(np.prod(shape)) * dtype.itemsize:
            raise self._broken("it ends early", "a whole file")
        return np.frombuffer(data, dtype).reshape(shape)

    def _broken(self, got: str, expected: str) -> MediaError:
        return MediaError(f"motion file {shown(self.path)}: {got}", expected, "Save it again with `--save-motion`.")


def stated_format(path: Path) -> str | None:
    """What a safetensors file says it is ("" where it is silent); None for a file that is none or damaged."""
    try:
        return read_header(path).metadata.get("format", "")
    except EamfmegError:
        return None


def _facts(path: Path, header: Header) -> MotionFacts:
    said = header.metadata
    if said.get("format") != FORMAT or said.get("format_version") != FORMAT_VERSION:
        kind = shown(said.get("format", "no known format"))[:60]
        fix = "Weights go behind `--weights`." if kind == "eamfmeg_fast" else ""
        raise MediaError(f"{shown(path)} holds {kind}", f"a motion file ({FORMAT} {FORMAT_VERSION})", fix)
    texts = {name: said.get(name, "") for name in ("preset", "weights_sha256", "fps", "driving_sha256")}
    numbers = [said.get(name, "") for name in ("origin", "reference")] + [said.get("averaged", "1")]
    sane = all(number.isascii() and number.isdecimal() and len(number) <= 18 for number in numbers)
    sane = sane and int(numbers[2]) > 0
    if texts["preset"] not in PRESETS or max(map(len, texts.values())) > _MAX_TEXT or not sane:
        raise MediaError(f"motion file {shown(path)} has metadata that make no sense", "a preset, hashes and a rate")
    fps = parse_fps(texts["fps"], f"the rate in {shown(path)}")
    hashes = texts["weights_sha256"], texts["driving_sha256"]
    return MotionFacts(texts["preset"], hashes[0], fps, hashes[1], *map(int, numbers))
