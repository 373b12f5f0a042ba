"""The errors of the package: every one says what came, what was expected and what to do."""

from __future__ import annotations


class EamfmegError(Exception):
    """Base of all errors raised on purpose.

    Args:
        got: what came, one sentence or clause, naming the file or argument.
        expected: what would have been right (shown after "expected").
        fix: what the user can do about it, one sentence.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 2

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        self.got, self.expected, self.fix = got, expected, fix
        text = f"{got}; expected {expected}" if expected else got
        text = text if text.endswith((".", "!", "?")) else f"{text}."
        super().__init__(f"{text} {fix}".strip())

    def __reduce__(self) -> tuple[type[EamfmegError], tuple[str, str, str]]:
        return type(self), (self.got, self.expected, self.fix)


class InputError(EamfmegError):
    """Something the user handed over cannot be used."""


class OptionError(InputError):
    """An option or argument has a value that means nothing here."""


class MediaError(InputError):
    """A picture, clip or folder of frames cannot be read or written."""


class ShapeError(InputError):
    """An array has the wrong shape."""


class DtypeError(InputError):
    """An array has the wrong type."""


class FaceError(InputError):
    """No face was found, or it was lost."""


class WeightsError(InputError):
    """A weights file is damaged, hostile, of another network or not there."""


class BackendError(EamfmegError):
    """A backend or an optional package is missing on this machine."""

    exit_code = 3


class PartialError(EamfmegError):
    """Some of several jobs failed; the others are done."""

    exit_code = 4


class BackendWarning(RuntimeWarning):
    """What was asked for does not run here, and something slower runs instead."""
