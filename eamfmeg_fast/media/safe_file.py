"""Opens only regular files, turns every failure into a MediaError, and writes aside before renaming."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import EamfmegError, MediaError

#: Names in a folder of frames that are not frames.
CLIP_JSON = "clip.json"
MANIFEST_JSON = "manifest.json"


def shown(path: str | os.PathLike[str]) -> str:
    """The path as it may stand in a one-line message: control characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in os.fspath(path))


@contextlib.contextmanager
def media_errors(path: str | os.PathLike[str], doing: str = "read") -> Iterator[None]:
    """Turns whatever the codecs raise inside into one MediaError that names the file.

    Raises:
        MediaError: anything but one of our own errors came up.
    """
    try:
        yield
    except EamfmegError:
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{shown(path)} does not exist", fix="Check the path.") from error
    except OSError as error:
        raise MediaError(f"{shown(path)} cannot be {doing}: {_one_line(error.strerror or error)}") from error
    except Exception as error:  # damaged media make the codecs raise nearly every type there is
        raise MediaError(f"{shown(path)} cannot be {doing}: {_one_line(error)}", "an intact file") from error


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:200].rstrip(".")


def require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    """Refuses whatever could block, never end, or act on being opened.

    Raises:
        MediaError: not a regular file.
    """
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
        kinds[stat.S_IFDIR] = "a folder"
        raise MediaError(f"{shown(path)} is {kinds.get(stat.S_IFMT(mode), 'no ordinary file')}", "a regular file")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file (or a link to one) opened for reading, without ever waiting.

    Raises:
        MediaError: it is missing, unreadable, or no regular file.
    """
    with media_errors(path, "opened"):
        path = os.fspath(path)
        require_regular(os.stat(path).st_mode, path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            require_regular(os.fstat(descriptor).st_mode, path)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise


def read_json(path: str | os.PathLike[str], expected: str) -> dict[str, Any]:
    """The JSON object in a small file.

    Args:
        path: of the file. expected: what it should have held, for the error.

    Raises:
        MediaError: missing, unreadable, too large, or no JSON object.
    """
    with open_regular(path) as file, media_errors(path):
        data = file.read(LIMITS.max_header_bytes + 1)
        if len(data) > LIMITS.max_header_bytes:
            raise MediaError(f"{shown(path)} is too large", f"at most {LIMITS.max_header_bytes} bytes")
        found = json.loads(data)
    if not isinstance(found, dict):
        raise MediaError(f"{shown(path)} holds no JSON object", expected)
    return found


def refuse_inputs(output: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuses an output that is one of the inputs, or a folder that holds one.

    Raises:
        MediaError: it is.
    """
    final = os.path.realpath(output)
    for given in inputs:
        same = os.path.exists(output) and os.path.exists(given) and os.path.samefile(output, given)
        place = os.path.realpath(given)
        if same or place == final or place.startswith(final + os.sep):
            raise MediaError(f"output {shown(output)} is or holds the input {shown(given)}", fix="Choose another name.")


class Aside:
    """A file or folder made under a hidden name beside its final place and renamed when it is whole.

    Args:
        final: where the result shall be.
        folder: make a folder.
        overwrite: an existing, filled folder of frames may be replaced (a file always may).

    Attributes:
        path: the hidden place to write to, after `open`.
    """

    def __init__(self, final: Path, folder: bool = False, overwrite: bool = False) -> None:
        self.final, self.folder, self.overwrite = final, folder, overwrite
        stem = final.name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
        self.path = final.with_name(f".{stem}.{secrets.token_hex(6)}.part")
        self.check()

    def check(self) -> None:
        """Refuses places where the result cannot go.

        Raises:
            MediaError: no such parent folder, or something else is in the way.
        """
        with media_errors(self.final, "written"):
            if not self.final.parent.is_dir():
                raise MediaError(f"folder {shown(self.final.parent)} does not exist", fix="Create it first.")
            if not os.path.lexists(self.final):
                return
            if not self.folder:
                if self.final.exists():
                    require_regular(os.stat(self.final).st_mode, self.final)
            elif self.final.is_symlink() or not self.final.is_dir():
                raise MediaError(f"{shown(self.final)} is in the way", "a new or empty folder")
            elif any(os.scandir(self.final)):
                self._check_replaceable()

    def _check_replaceable(self) -> None:
        if not self.overwrite:
            fix = "Choose another name or allow overwriting."
            raise MediaError(f"folder {shown(self.final)} is not empty", "a new or empty folder", fix)
        for entry in os.scandir(self.final):
            ours = entry.name in (CLIP_JSON, MANIFEST_JSON) or entry.name.lower().endswith(".png")
            if not ours or not entry.is_file(follow_symlinks=False):
                raise MediaError(
                    f"folder {shown(self.final)} holds {shown(entry.name)}, which is no part of a clip",
                    "only frames in a folder that is to be replaced",
                )

    def open(self) -> None:
        """Creates the hidden file or folder.

        Raises:
            MediaError: that is not possible.
        """
        with media_errors(self.final, "written"):
            if self.folder:
                self.path.mkdir()
            else:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))

    def commit(self) -> None:
        """Puts the result in its place; readers see the old one or the new one, never a part.

        Raises:
            MediaError: that is not possible; the hidden file is left for `discard`.
        """
        with media_errors(self.final, "written"):
            self.check()
            if self.folder:
                self._commit_folder()
            else:
                _sync(self.path)
                os.replace(self.path, self.final)

    def _commit_folder(self) -> None:
        if not (self.final.is_dir() and any(os.scandir(self.final))):
            os.rename(self.path, self.final)
            return
        old = self.final.with_name(self.path.name + ".old")
        os.rename(self.final, old)
        try:
            os.rename(self.path, self.final)
        except BaseException:
            os.rename(old, self.final)
            raise
        shutil.rmtree(old)

    def discard(self) -> None:
        """Removes the hidden file or folder, if it is still there."""
        if self.folder:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_aside(final: Path, text: str) -> None:
    """Writes a small text file aside and renames it.

    Raises:
        MediaError: that is not possible.
    """
    aside = Aside(final)
    try:
        aside.open()
        with media_errors(final, "written"):
            aside.path.write_text(text, encoding="utf-8")
        aside.commit()
    finally:
        aside.discard()
