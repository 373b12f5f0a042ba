"""Pictures of every kind come out as upright RGB."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media import open_clip, probe, read_picture


def colours(width: int = 13, height: int = 9) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_bytes(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        body += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return body


@pytest.mark.parametrize("suffix", ["png", "bmp", "PNG"])
def test_rgb_of_odd_size_is_exact(tmp_path: Path, suffix: str) -> None:
    image = colours()
    Image.fromarray(image).save(tmp_path / f"p.{suffix}")
    read = read_picture(tmp_path / f"p.{suffix}")
    assert read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable
    np.testing.assert_array_equal(read, image)


def test_jpeg_is_close(tmp_path: Path) -> None:
    image = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    Image.fromarray(image).save(tmp_path / "p.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "p.jpg").astype(int) - image).max() <= 4


def test_name_does_not_decide(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "p.png")
    (tmp_path / "p.png").rename(tmp_path / "p.jpg")
    np.testing.assert_array_equal(read_picture(tmp_path / "p.jpg"), colours())


def test_transparency_falls_on_white(tmp_path: Path) -> None:
    image = np.zeros((10, 10, 4), np.uint8)
    image[:5] = (255, 0, 0, 255)
    image[5:] = (0, 0, 0, 0)
    Image.fromarray(image).save(tmp_path / "p.png")
    read = read_picture(tmp_path / "p.png")
    assert (read[:5] == (255, 0, 0)).all() and (read[5:] == 255).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30] + [0] * 762)
    image.paste(0, (0, 0, 8, 4))
    image.save(tmp_path / "p.png", transparency=0)
    read = read_picture(tmp_path / "p.png")
    assert (read[:4] == 255).all() and (read[4:] == (10, 200, 30)).all()


def test_grey_and_grey_with_alpha(tmp_path: Path) -> None:
    grey = colours()[..., 0]
    Image.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "g.png"), np.repeat(grey[..., None], 3, -1))
    Image.fromarray(np.dstack([grey, np.full_like(grey, 255)]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "la.png")[..., 2], grey)


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    grey = (np.arange(80, dtype=np.uint16).reshape(8, 10) * 800).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "p.png")[..., 0], grey >> 8)


def test_sixteen_bits_rgb(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF) * 8 for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    (tmp_path / "p.png").write_bytes(png_bytes((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")))
    assert (read_picture(tmp_path / "p.png") == (0x12, 0x80, 0xFF)).all()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK").save(tmp_path / "p.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "p.jpg").astype(int) - (250, 10, 10)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = colours(12, 10)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "p.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "p.png"), upright)
    info = probe(tmp_path / "p.png")
    assert (info.width, info.height) == (12, 10)
    assert info.rotation == {3: 180, 5: 90, 6: 90, 7: 90, 8: 270}.get(orientation, 0)


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "p.png")
    with open_clip(tmp_path / "p.png") as clip:
        frames = list(clip)
    assert clip.info.kind == "picture" and clip.info.frame_count == len(frames) == 1
    np.testing.assert_array_equal(frames[0].image, colours())


def test_first_frame_of_a_gif(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (10, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "p.gif", save_all=True, append_images=[second])
    assert (read_picture(tmp_path / "p.gif") == (255, 0, 0)).all()


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_cut_pictures_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(colours(64, 64)).save(buffer, kind)
    (tmp_path / "p").write_bytes(cut(buffer.getvalue(), share))
    with pytest.raises(MediaError):
        read_picture(tmp_path / "p")


def test_pixels_missing_inside_whole_chunks(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    few = zlib.compress(bytes(500))
    (tmp_path / "p.png").write_bytes(png_bytes((b"IHDR", header), (b"IDAT", few), (b"IEND", b"")))
    with pytest.raises(MediaError):
        read_picture(tmp_path / "p.png")


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "p.png")
    with pytest.raises(MediaError, match="at least 8"):
        read_picture(tmp_path / "p.png")


def test_other_files_are_refused(tmp_path: Path, make) -> None:
    make.encode(tmp_path / "v.mp4", make.moving(2))
    (tmp_path / "text.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "noise.png").write_bytes(bytes(range(128, 256)))
    for name, match in {"v.mp4": "picture", "text.png": "text", "empty.png": "empty", "noise.png": "kind"}.items():
        with pytest.raises(MediaError, match=match):
            read_picture(tmp_path / name)
    with pytest.raises(MediaError, match="does not exist"):
        read_picture(tmp_path / "missing\n.png")
    with pytest.raises(MediaError, match="folder"):
        read_picture(tmp_path)


def test_mutated_pictures_give_media_errors_only(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "p"
    for kind in ("png", "jpeg", "bmp", "gif"):
        buffer = io.BytesIO()
        Image.fromarray(colours(24, 24)).save(buffer, kind)
        for _ in range(60):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            at = generator.integers(8, min(len(data), 200), 4)
            data[at] = generator.integers(0, 256, 4)
            path.write_bytes(data.tobytes())
            try:
                assert read_picture(path).ndim == 3
            except MediaError:
                pass
