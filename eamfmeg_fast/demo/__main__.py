"""`python -m eamfmeg_fast.demo`: what `make demo` runs."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eamfmeg_fast.demo.run import demo
from eamfmeg_fast.errors import EamfmegError


def main() -> int:
    """Run the demonstration into `out/`; returns the exit code."""
    console = Console(highlight=False)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("retargeting", total=None)
            files = demo(Path("out"), on_frame=lambda done, total: progress.update(bar, completed=done, total=total))
    except EamfmegError as error:
        Console(stderr=True, highlight=False).print(f"eamfmeg: error: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    console.print(
        f"{files.frames} frames at {files.frames_per_second:.1f} per second on {files.device}. Look at:", soft_wrap=True
    )
    for path, what in files.list():
        console.print(f"  {path!s:<28} {what}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
