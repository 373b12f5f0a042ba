"""Hostile and broken clips: one MediaError, nothing written, little memory."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media import open_clip, probe, read_picture


@pytest.mark.parametrize(
    "text",
    [
        "this is a text",
        "ffconcat version 1.0\nfile secret.mp4\n",
        "file 'secret.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "\ufeff#EXTM3U\nsecret.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD><BaseURL>secret.mp4</BaseURL></MPD>",
        "RTSPtextRTSP://localhost/secret.mp4",
    ],
)
@pytest.mark.parametrize("name", ["upload.mp4", "upload.gif"])
def test_a_text_that_names_another_file(tmp_path: Path, make, monkeypatch, text: str, name: str) -> None:
    make.encode(tmp_path / "secret.mp4", make.moving(3))
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    make.refused(Path(name), tmp_path, "is a text")


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"\x1aE\xdf\xa3\x84\x42\x86\x81\x01", b"GIF89a"]
)
def test_a_playlist_behind_a_real_magic(tmp_path: Path, make, monkeypatch, head: bytes) -> None:
    make.encode(tmp_path / "secret.mp4", make.moving(3))
    (tmp_path / "upload.mp4").write_bytes(
        head + b"\n#EXTM3U\n#EXTINF:1,\nsecret.mp4\nffconcat version 1.0\nfile secret.mp4\n"
    )
    monkeypatch.chdir(tmp_path)
    make.refused(Path("upload.mp4"), tmp_path)


def test_addresses_are_no_files(tmp_path: Path, make, monkeypatch) -> None:
    make.encode(tmp_path / "v.mp4", make.moving(2))
    monkeypatch.chdir(tmp_path)
    for name in ("http://127.0.0.1:9/v.mp4", "file:v.mp4", "concat:v.mp4", "pipe:0", "subfile,,start,0,end,0,,:v.mp4"):
        make.refused(Path(name), tmp_path, "does not exist")


def test_missing_and_empty(tmp_path: Path, make) -> None:
    make.refused(tmp_path / "missing.mp4", tmp_path, "does not exist")
    (tmp_path / "empty.mp4").write_bytes(b"")
    make.refused(tmp_path / "empty.mp4", tmp_path, "is empty")


def test_pipes_devices_sockets_and_links_to_them(tmp_path: Path, make) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            server.bind("socket.mp4")
        finally:
            os.chdir(here)
    for name, match in {"pipe": "pipe", "link": "pipe", "zero": "device", "socket": "socket", "loop": None}.items():
        make.refused(tmp_path / f"{name}.mp4", tmp_path, match)
        with pytest.raises(MediaError):
            read_picture(tmp_path / f"{name}.mp4")


def test_a_link_to_a_file_is_fine(tmp_path: Path, make) -> None:
    (tmp_path / "link.mp4").symlink_to(make.encode(tmp_path / "v.mp4", make.moving(2)))
    assert probe(tmp_path / "link.mp4").frame_count == 2


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_no_frames(tmp_path: Path, make, container: str) -> None:
    codec = "libx264" if container == "mp4" else "libvpx"
    path = make.encode(tmp_path / "v", make.moving(3), codec=codec, container=container)
    data = path.read_bytes()
    if container == "mp4":
        at = data.find(b"stsz") + 12
        data = data[:at] + bytes(4) + data[at + 4 :]
    else:
        cluster = data.find(b"\x1f\x43\xb6\x75")
        size = data[cluster + 4 : cluster + 12]
        data = data[:cluster] + b"\xec" + size + b"\0\0\0" + data[cluster + 12 :]
    path.write_bytes(data)
    make.refused(path, tmp_path)


def test_only_sound(tmp_path: Path, make) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    make.refused(tmp_path / "a.mp4", tmp_path, "no moving picture")


CUTS = [0.0005, 0.01, 0.05, 0.3, 0.6, 0.9, 0.995]


@pytest.mark.parametrize("share", CUTS)
@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {}),
        ("libx264", "mp4", {"movflags": "faststart"}),
        ("mpeg4", "mov", {}),
        ("libvpx", "webm", {}),
        ("libvpx-vp9", "webm", {}),
        ("libx264", "matroska", {}),
        ("gif", "gif", {}),
    ],
)
def test_cut_clips(tmp_path: Path, make, codec: str, container: str, options: dict[str, str], share: float) -> None:
    if container == "gif":
        images = [Image.fromarray(image) for image in make.moving(20)]
        images[0].save(tmp_path / "v", "GIF", save_all=True, append_images=images[1:], duration=40)
    else:
        make.encode(tmp_path / "v", make.moving(40), codec=codec, container=container, options=options)
    data = (tmp_path / "v").read_bytes()
    for size in {int(len(data) * share), len(data) - 1}:
        (tmp_path / "v").write_bytes(data[: max(size, 1)])
        make.refused(tmp_path / "v", tmp_path)


def test_cut_but_padded_to_its_length(tmp_path: Path, make) -> None:
    path = make.encode(tmp_path / "v.mp4", make.moving(40), options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2].ljust(len(data), b"\0"))
    make.refused(path, tmp_path)


def test_a_clip_that_shrinks_while_it_is_read(tmp_path: Path, make) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    path = make.encode(tmp_path / "v.mp4", list(noise))
    with pytest.raises(MediaError), open_clip(path) as clip:
        for frame in clip:
            if frame.index == 0:
                os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(("codec", "container"), [("mpeg4", "mp4"), ("libvpx-vp9", "webm"), ("libx264", "mp4")])
def test_damage_in_the_middle_never_shortens(tmp_path: Path, make, codec: str, container: str) -> None:
    generator = np.random.default_rng(1)
    textured = generator.integers(0, 256, (12, 48, 48, 3), dtype=np.uint8)
    data = make.encode(tmp_path / "v", list(textured), codec=codec, container=container).read_bytes()
    raised = 0
    for _ in range(12):
        damaged = bytearray(data)
        at = int(generator.integers(len(data) // 3, len(data) * 2 // 3))
        damaged[at : at + 32] = generator.bytes(32)
        (tmp_path / "v").write_bytes(damaged)
        try:
            with open_clip(tmp_path / "v") as clip:
                assert len(list(clip)) == 12
        except MediaError:
            raised += 1
    assert raised or codec == "libvpx-vp9"


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_mutated_clips_give_media_errors_only(tmp_path: Path, make, kind: str) -> None:
    if kind == "gif":
        images = [Image.fromarray(image) for image in make.moving(4)]
        images[0].save(tmp_path / "v", "GIF", save_all=True, append_images=images[1:], duration=40)
    else:
        codec = "libx264" if kind == "mp4" else "libvpx"
        make.encode(tmp_path / "v", make.moving(4), codec=codec, container=kind)
    data = (tmp_path / "v").read_bytes()
    generator = np.random.default_rng(2)
    for _ in range(80):
        mutated = np.frombuffer(data, np.uint8).copy()
        mutated[generator.integers(0, len(data), 6)] = generator.integers(0, 256, 6)
        (tmp_path / "v").write_bytes(mutated.tobytes())
        try:
            with open_clip(tmp_path / "v") as clip:
                for frame in clip:
                    assert frame.image.shape == (clip.info.height, clip.info.width, 3)
        except MediaError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_one_pixel_clips(tmp_path: Path, make, kind: str) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / f"c.{kind}")
    make.refused(tmp_path / f"c.{kind}", tmp_path, "1x1; expected at least 8")


def test_two_pixel_video(tmp_path: Path, make) -> None:
    make.refused(make.encode(tmp_path / "v.mp4", make.moving(2, 2, 2)), tmp_path, "2x2; expected at least 8")


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack(">I", size) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb_png(width: int, height: int, idat_length: int | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)), idat_length) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb_mp4(data: bytes, samples: int) -> bytes:
    at = data.find(b"stsz") + 8
    return data[:at] + struct.pack(">II", 1, samples) + data[at + 8 :]


def bomb_gif() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x2c" + bytes(9) + b"\x02\x00;"


def bomb_bmp() -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 1000, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, *[0] * 6)
        + bytes(900)
    )


def test_bombs_under_a_memory_limit(tmp_path: Path, make) -> None:
    video = make.encode(tmp_path / "v.mp4", make.moving(3)).read_bytes()
    at = video.find(b"avc1", video.find(b"stsd")) + 28
    assert video[at : at + 4] == struct.pack(">HH", 32, 24)
    tall = video[:at] + struct.pack(">HH", 65535, 65535) + video[at + 4 :]
    bombs = {
        "wide.png": bomb_png(60000, 60000),
        "chunk.png": bomb_png(64, 64, 0x7FFFFFFF),
        "half.png": bomb_png(64, 64, 0x40000000),
        "deep.bmp": bomb_bmp(),
        "wide.gif": bomb_gif(),
        "many.mp4": bomb_mp4(video, 150_000_000),
        "most.mp4": bomb_mp4(video, 0xFFFFFFFF),
        "tall.mp4": tall.replace(b"avcC", b"junk"),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in bombs]
    code = """
        import resource, sys
        from eamfmeg_fast.errors import MediaError
        from eamfmeg_fast.media import open_clip
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in sys.argv[1:]:
            try:
                with open_clip(name) as clip:
                    list(clip)
            except MediaError:
                pass
            else:
                sys.exit(f"{name} was read")
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
            if grown > 64:
                sys.exit(f"{name} took {grown} MB")
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *names], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_too_many_pixels(tmp_path: Path, make) -> None:
    Image.new("1", (12000, 12000)).save(tmp_path / "p.png")
    make.refused(tmp_path / "p.png", tmp_path, "at most 40000000 pixels")
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.new("1", (4000, 3000)).save(folder / "1.png")
    make.refused(folder, tmp_path, "at most 8294400 pixels")


def test_a_gif_of_endless_frames(tmp_path: Path, make) -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", 3800, 2100, 0x80, 0, 0) + bytes(6)
    (tmp_path / "g.gif").write_bytes(head + frame * 20_000 + b";")
    make.refused(tmp_path / "g.gif", tmp_path, "too many frames")
