"""The command line, `eamfmeg`: the same words as the Python interface."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType

import typer

from eamfmeg_fast.errors import BackendWarning, EamfmegError

__all__ = ["main", "run"]

_INTERRUPTED = 130
_INTERNAL = 1


def main() -> None:
    """Entry point: runs the command of `sys.argv` and exits with its code."""
    _wait_briefly()
    # An ended process must not leave hidden files behind: SIGTERM and a closed terminal unwind like Ctrl-C.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What is ignored on purpose (nohup) stays ignored.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    sys.exit(run(sys.argv[1:]))


def _wait_briefly() -> None:
    """Let idle OpenMP threads spin for a tenth of a millisecond, the pause between two operators, then sleep.

    The default is milliseconds of a whole processor after every frame; sleeping at once costs a frame a seventh. It is
    read when PyTorch is loaded, so it must be said before.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def run(args: Sequence[str]) -> int:
    """Run one command and say what went wrong in one line on stderr.

    Args:
        args: without the program's name; `--debug` anywhere before a bare `--` shows tracebacks.

    Returns:
        0 done, 1 a fault of this program, 2 bad input, 3 a missing backend, 4 some of several jobs failed, 130
        interrupted.
    """
    given = list(args)
    options = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in options
    given = [arg for arg in options if arg != "--debug"] + given[len(options) :]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note  # type: ignore[assignment]
            return _invoke(given)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted; nothing was left half-written", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left; a second error while Python flushes stdout would help nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except EamfmegError as error:
        if debug:
            traceback.print_exc()
        return _complain(str(error), error.exit_code)
    except Exception as error:  # the boundary: whatever else comes up is shown as one line, too
        if debug:
            traceback.print_exc()
        return _explain(error, debug)


def _invoke(args: list[str]) -> int:
    from eamfmeg_fast.cli.app import app

    code = app(args, standalone_mode=False, prog_name="eamfmeg")
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _explain(error: Exception, debug: bool) -> int:
    usage = getattr(error, "format_message", None)
    if callable(usage):
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(usage())
            return 0
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "eamfmeg"
        return _complain(f"{str(usage()).rstrip('.')}. See `{command} --help`.", getattr(error, "exit_code", 2))
    if isinstance(error, MemoryError):
        return _complain("not enough memory. Use a smaller picture or close other programs.", _INTERNAL)
    if isinstance(error, OSError):
        return _complain(f"{error}. Check the path, the space and the permissions.", 2)
    more = "" if debug else " Run again with --debug for the traceback and report it."
    return _complain(f"unexpected {type(error).__name__}: {error}.{more}", _INTERNAL)


def _note(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Our own warnings as one line; those that libraries address to programmers are left out."""
    if category is UserWarning or issubclass(category, BackendWarning):
        sys.stderr.write(f"eamfmeg: note: {_plain(str(message))}\n")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"eamfmeg: error: {_plain(message)}\n")
    return code


def _plain(message: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
