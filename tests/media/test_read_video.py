"""Videos and GIFs: frames, times, rates, rotation, colours."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.media import open_clip, probe
from eamfmeg_fast.media.gif import gif_rate


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(200)])
@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "mp4"), ("mpeg4", "mov"), ("libvpx", "webm"), ("libx264", "matroska")]
)
def test_rational_rate_and_times(tmp_path: Path, make, fps: Fraction, codec: str, container: str) -> None:
    if codec == "mpeg4" and fps.numerator > 65535:
        pytest.skip("mpeg4 has a 16-bit clock")
    path = make.encode(tmp_path / "v", make.moving(12), fps, codec=codec, container=container)
    with open_clip(path) as clip:
        frames = list(clip)
    assert clip.info.fps == fps and not clip.info.variable_rate and not clip.info.has_audio
    assert clip.info.frame_count in (12, None) and clip.info.kind == "video"
    assert [frame.time for frame in frames] == [number / fps for number in range(12)]
    assert [frame.index for frame in frames] == list(range(12))


def test_pixels(tmp_path: Path, make) -> None:
    made = make.moving(6, 64, 48)
    with open_clip(make.encode(tmp_path / "v.mp4", made)) as clip:
        for frame, image in zip(clip, made):
            assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous
            assert np.abs(frame.image.astype(int) - image).mean() < 3


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_variable_rate_keeps_its_times(tmp_path: Path, make, container: str) -> None:
    times = [Fraction(number, 1000) for number in (0, 40, 80, 200, 220, 380, 1000)]
    codec = "libx264" if container == "mp4" else "libvpx"
    path = make.encode(
        tmp_path / "v", make.moving(7), codec=codec, container=container, times=times, tick=Fraction(1, 1000)
    )
    with open_clip(path) as clip:
        assert clip.info.variable_rate
        assert [frame.time for frame in clip] == times


@pytest.mark.parametrize(("size", "container"), [((33, 25), "mp4"), ((9, 9), "mp4"), ((64, 8), "webm")])
def test_odd_sizes(tmp_path: Path, make, size: tuple[int, int], container: str) -> None:
    codec = "libx264" if container == "mp4" else "libvpx"
    info = probe(make.encode(tmp_path / "v", make.moving(2, *size), codec=codec, container=container))
    assert (info.width, info.height) == size


def test_one_frame(tmp_path: Path, make) -> None:
    with open_clip(make.encode(tmp_path / "v.mp4", make.moving(1))) as clip:
        assert len(list(clip)) == 1


def turned(path: Path, degrees: int) -> Path:
    """Writes the matrix of a phone held `degrees` clockwise into the track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    one = 0x10000
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_display_rotation(tmp_path: Path, make, degrees: int) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24] = 255
    path = turned(make.encode(tmp_path / "v.mp4", [image] * 3), degrees)
    expected = np.rot90(image, -degrees // 90)
    with open_clip(path) as clip:
        frames = list(clip)
    assert clip.info.rotation == degrees
    assert (clip.info.height, clip.info.width) == expected.shape[:2]
    assert all(np.abs(frame.image.astype(int) - expected).mean() < 6 for frame in frames)


@pytest.mark.parametrize(("space", "name"), [(1, "ITU709"), (5, "ITU601")])
@pytest.mark.parametrize("full", [False, True])
def test_colours_by_the_stated_matrix(tmp_path: Path, space: int, name: str, full: bool) -> None:
    image = np.full((32, 32, 3), (230, 40, 20), np.uint8)
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace = space
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv444p", dst_colorspace=name, dst_color_range="JPEG" if full else "MPEG")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with open_clip(tmp_path / "v.mp4") as clip:
        assert np.abs(next(iter(clip)).image.astype(int) - image).max() <= 4


def test_ten_bits(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p10le"
        grey = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
        out.mux(stream.encode(grey.reformat(format="yuv420p10le")))
        out.mux(stream.encode(None))
    with open_clip(tmp_path / "v.mp4") as clip:
        assert np.abs(next(iter(clip)).image.astype(int) - 128).max() <= 2


def test_sound_is_seen(tmp_path: Path, make) -> None:
    assert probe(make.encode(tmp_path / "v.mp4", make.moving(5), audio="aac")).has_audio


def test_fragmented_mp4(tmp_path: Path, make) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = make.encode(tmp_path / "v.mp4", make.moving(30), options=options)
    with open_clip(path) as clip:
        assert len(list(clip)) == 30


def test_an_unfinished_iteration_lets_go_of_its_file(tmp_path: Path, make, no_file_descriptors_lost) -> None:
    path = make.encode(tmp_path / "v.mp4", make.moving(9))
    with open_clip(path) as clip:
        frames = iter(clip)
        next(frames)
        assert next(iter(clip)).index == 0


def save_gif(path: Path, frames: list[np.ndarray], delays_ms: list[int] | int) -> Path:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=delays_ms, loop=0)
    return path


def test_gif(tmp_path: Path, make) -> None:
    made = [np.full((12, 10, 3), (value, 255 - value, 7), np.uint8) for value in (0, 80, 160, 240)]
    with open_clip(save_gif(tmp_path / "g.gif", made, 20)) as clip:
        frames = list(clip)
    assert (clip.info.kind, clip.info.fps, clip.info.frame_count) == ("gif", 50, 4)
    assert [frame.time for frame in frames] == [Fraction(number, 50) for number in range(4)]
    for frame, image in zip(frames, made):
        np.testing.assert_array_equal(frame.image, image)


def test_gif_with_uneven_delays(tmp_path: Path) -> None:
    made = [np.full((12, 10, 3), value, np.uint8) for value in (0, 80, 160)]
    with open_clip(save_gif(tmp_path / "g.gif", made, [50, 300, 100])) as clip:
        assert [frame.time for frame in clip] == [0, Fraction(1, 20), Fraction(7, 20)]
    assert clip.info.variable_rate and clip.info.duration_s == pytest.approx(0.45)


def test_transparent_gif_falls_on_white(tmp_path: Path) -> None:
    images = []
    for value in (40, 90):
        image = Image.new("P", (10, 10), 0)
        image.putpalette([1, 2, 3, value, value, value] + [0] * 762)
        image.paste(1, (0, 0, 5, 10))
        images.append(image)
    images[0].save(
        tmp_path / "g.gif", save_all=True, append_images=images[1:], transparency=0, disposal=2, duration=100
    )
    with open_clip(tmp_path / "g.gif") as clip:
        for frame, value in zip(clip, (40, 90)):
            assert (frame.image[:, :5] == value).all() and (frame.image[:, 5:] == 255).all()


@pytest.mark.parametrize(
    ("delays", "fps"),
    [((4, 4, 4), Fraction(25)), ((3, 4, 3), Fraction(30)), ((3, 3), Fraction(100, 3)), ((7,), Fraction(100, 7))],
)
def test_gif_rate(delays: tuple[int, ...], fps: Fraction) -> None:
    assert gif_rate(delays) == fps
