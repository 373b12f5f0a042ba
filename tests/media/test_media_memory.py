"""Reading and writing take the same memory however long the clip is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CODE = """
    import sys, warnings
    import numpy as np
    from eamfmeg_fast.media import open_clip, open_writer
    warnings.simplefilter("ignore")

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    path, count, side = sys.argv[1], 320, 192
    y, x = np.mgrid[:side, :side]
    marks = []
    with open_writer(path, fps=200, size=(side, side)) as writer:
        for number in range(count):
            writer.write(np.stack([x, y, x * 0 + number % 200], -1).astype(np.uint8))
            if number in (count // 2, count - 1):
                marks.append(resident())
    with open_clip(path) as clip:
        for frame in clip:
            if frame.index in (count // 2, count - 1):
                marks.append(resident())
    whole = count // 2 * side * side * 3
    for begin, end in (marks[:2], marks[2:]):
        if end - begin > whole // 3:
            sys.exit(f"{(end - begin) >> 20} MB more for {whole >> 20} MB of frames")
"""


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "frames"])
def test_constant_memory(tmp_path: Path, name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path / name)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
