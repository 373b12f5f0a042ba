"""Nothing half-written is ever seen under its final name, and nothing is overwritten by accident."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media import open_writer, probe
from eamfmeg_fast.media.safe_file import write_text_aside

IMAGE = np.zeros((16, 16, 3), np.uint8)
NAMES = ["v.mp4", "v.gif", "frames"]


def writer_of(path: Path, **options):
    return open_writer(path, fps=25, size=(16, 16), **options)


def write(path: Path, count: int = 2, **options) -> None:
    with writer_of(path, **options) as writer:
        for _ in range(count):
            writer.write(IMAGE)


@pytest.mark.parametrize("name", NAMES)
def test_hidden_until_whole(tmp_path: Path, name: str) -> None:
    with writer_of(tmp_path / name) as writer:
        for _ in range(3):
            writer.write(IMAGE)
            (entry,) = tmp_path.iterdir()
            assert entry.name.startswith(".") and entry.name.endswith(".part")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_removed_on_any_exception(tmp_path: Path, name: str, error: type[BaseException], count: int) -> None:
    with pytest.raises(error), writer_of(tmp_path / name) as writer:
        for _ in range(count):
            writer.write(IMAGE)
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_can_be_given_up_before_and_after_its_block(tmp_path: Path, name: str) -> None:
    writer = writer_of(tmp_path / name)
    writer.__enter__()
    writer.write(IMAGE)
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    with writer_of(tmp_path / name) as whole:
        whole.write(IMAGE)
    whole.discard()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_no_frames_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match="no frame was written"), writer_of(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_opening_creates_nothing(tmp_path: Path, name: str) -> None:
    writer = writer_of(tmp_path / name)
    with pytest.raises(MediaError, match="not open"):
        writer.write(IMAGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.mp4", "v.gif"])
def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(RuntimeError), writer_of(tmp_path / name) as writer:
        writer.write(IMAGE)
        raise RuntimeError
    assert (tmp_path / name).read_bytes() == b"old"
    write(tmp_path / name)
    assert probe(tmp_path / name).frame_count == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_filled_folder_needs_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "frames", 3)
    with pytest.raises(MediaError, match="not empty"):
        writer_of(tmp_path / "frames")
    assert probe(tmp_path / "frames").frame_count == 3
    write(tmp_path / "frames", 1, overwrite=True)
    assert probe(tmp_path / "frames").frame_count == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["frames"]


def test_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    write(tmp_path / "frames")
    assert probe(tmp_path / "frames").frame_count == 2


@pytest.mark.parametrize(
    "make_other", [lambda folder: (folder / "thesis.tex").touch(), lambda folder: (folder / "sub.png").mkdir()]
)
def test_overwrite_never_removes_what_is_no_frame(tmp_path: Path, make_other) -> None:
    write(tmp_path / "frames")
    make_other(tmp_path / "frames")
    with pytest.raises(MediaError, match="no part of a clip"):
        writer_of(tmp_path / "frames", overwrite=True)
    assert len(list((tmp_path / "frames").iterdir())) == 4


def test_output_that_is_an_input(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4")
    (tmp_path / "link.mp4").symlink_to("v.mp4")
    os.link(tmp_path / "v.mp4", tmp_path / "hard.mp4")
    before = (tmp_path / "v.mp4").read_bytes()
    for name in ("v.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/v.mp4"):
        with pytest.raises(MediaError, match="holds the input"):
            writer_of(tmp_path / name, inputs=[tmp_path / "v.mp4"])
        with pytest.raises(MediaError, match="holds the input"):
            writer_of(tmp_path / name, audio_from=tmp_path / "v.mp4")
    write(tmp_path / "frames")
    for given in ("frames", "frames/frame_000000.png"):
        with pytest.raises(MediaError, match="holds the input"):
            writer_of(tmp_path / "frames", overwrite=True, inputs=[tmp_path / given])
    assert (tmp_path / "v.mp4").read_bytes() == before


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "null.gif").symlink_to("/dev/null")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    cases = {
        "pipe.mp4": "pipe",
        "null.gif": "device",
        "folder.mp4": "folder",
        "file": "in the way",
        "no/v.mp4": "not exist",
    }
    for name, match in cases.items():
        with pytest.raises(MediaError, match=match):
            writer_of(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    code = """
        import resource, sys
        import numpy as np
        from eamfmeg_fast.errors import MediaError
        from eamfmeg_fast.media import open_writer
        noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
        try:
            with open_writer(sys.argv[1], fps=25, size=(64, 64)) as writer:
                for image in noise:
                    writer.write(image)
        except MediaError as error:
            print(error)
        else:
            sys.exit("nothing was noticed")
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / name)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout and done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_files_are_as_readable_as_the_umask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write(tmp_path / "v.mp4")
    finally:
        os.umask(mask)
    assert (tmp_path / "v.mp4").stat().st_mode & 0o777 == 0o644


def test_long_and_strange_names(tmp_path: Path) -> None:
    for name in ("ü" * 120 + ".mp4", "a%03d b:c'.mp4", "-x.gif", "tab\t.mp4"):
        write(tmp_path / name)
        assert probe(tmp_path / name).frame_count == 2


def test_no_file_stays_open(tmp_path: Path, no_file_descriptors_lost) -> None:
    for name in NAMES:
        write(tmp_path / name)
        with pytest.raises(RuntimeError), writer_of(tmp_path / f"x{name}") as writer:
            writer.write(IMAGE)
            raise RuntimeError


def test_text_is_written_aside(tmp_path: Path) -> None:
    write_text_aside(tmp_path / "a.json", "{}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(MediaError):
        write_text_aside(tmp_path / "no" / "a.json", "{}")
