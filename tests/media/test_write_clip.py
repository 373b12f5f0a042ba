"""What is written comes back: pixels, sizes, rates, times, marks."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from eamfmeg_fast.errors import DtypeError, MediaError, OptionError, ShapeError
from eamfmeg_fast.media import open_clip, open_writer, probe
from eamfmeg_fast.media.mark import DIGITAL_SOURCE_TYPE, find_mark


def write(path: Path | str, frames: list[np.ndarray], fps: Fraction | int | str = 25, times=None, **options) -> None:
    size = (frames[0].shape[1], frames[0].shape[0])
    with open_writer(path, fps=fps, size=size, **options) as writer:
        for number, image in enumerate(frames):
            writer.write(image, None if times is None else times[number])
    assert writer.frame_count == len(frames)


def read(path: Path) -> list:
    with open_clip(path) as clip:
        return list(clip)


def noise(count: int, width: int, height: int) -> list[np.ndarray]:
    return list(np.random.default_rng(5).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "frames", "frames.v1/"])
@pytest.mark.parametrize("size", [(32, 24), (33, 25), (8, 8), (9, 31)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_size_and_count(tmp_path: Path, make, name: str, size: tuple[int, int], count: int) -> None:
    made = make.moving(count, *size)
    write(f"{tmp_path}/{name}", made)
    info = probe(tmp_path / name)
    assert (info.width, info.height, info.frame_count, info.fps) == (*size, count, 25)
    for frame, image in zip(read(tmp_path / name), made, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 4.5


@pytest.mark.parametrize(
    "fps", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(200), Fraction(25, 2), Fraction(97, 7)]
)
@pytest.mark.parametrize("name", ["v.mp4", "frames"])
def test_rate_is_exact(tmp_path: Path, make, fps: Fraction, name: str) -> None:
    write(tmp_path / name, make.moving(11), fps)
    assert probe(tmp_path / name).fps == fps
    assert [frame.time for frame in read(tmp_path / name)] == [number / fps for number in range(11)]
    assert probe(tmp_path / name).duration_s == pytest.approx(float(11 / fps))


@pytest.mark.parametrize("size", [(32, 24), (33, 25)])
def test_lossless_mp4_is_bit_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    made = noise(5, *size)
    write(tmp_path / "v.mp4", made, lossless=True)
    np.testing.assert_array_equal([frame.image for frame in read(tmp_path / "v.mp4")], made)


def test_png_folder_is_bit_exact_and_numbered(tmp_path: Path) -> None:
    made = noise(3, 16, 12)
    write(tmp_path / "frames", made, 200, origin=46)
    np.testing.assert_array_equal([frame.image for frame in read(tmp_path / "frames")], made)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "clip.json",
        "frame_000046.png",
        "frame_000047.png",
        "frame_000048.png",
    ]
    assert json.loads((tmp_path / "frames" / "clip.json").read_text()) == {"fps": "200", "origin": 46, "frames": 3}


def test_crf_orders_quality(tmp_path: Path) -> None:
    made = noise(4, 64, 64)
    sizes = []
    for crf in (1, 12, 40):
        write(tmp_path / f"{crf}.mp4", made, crf=crf)
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "frames"])
def test_variable_times_are_kept(tmp_path: Path, make, name: str) -> None:
    times = [Fraction(number, 50) for number in (0, 1, 2, 5, 6, 20, 21)]
    write(tmp_path / name, make.moving(7), 50, times)
    assert [frame.time for frame in read(tmp_path / name)] == times
    assert probe(tmp_path / name).variable_rate


def test_a_variable_clip_is_as_long_as_its_frames_say(tmp_path: Path, make) -> None:
    times = [Fraction(ms, 1000) for ms in (0, 40, 90, 200, 210, 330, 400, 440, 520, 777)]
    write(tmp_path / "v.mp4", make.moving(10), 25, times)
    assert probe(tmp_path / "v.mp4").duration_s == pytest.approx(0.777 + 0.04, abs=1e-3)


def test_the_first_time_is_zero(tmp_path: Path, make) -> None:
    write(tmp_path / "v.mp4", make.moving(3), 25, [Fraction(number, 25) for number in (100, 101, 102)])
    assert [frame.time for frame in read(tmp_path / "v.mp4")] == [0, Fraction(1, 25), Fraction(2, 25)]
    assert not probe(tmp_path / "v.mp4").variable_rate


def test_copy_of_a_variable_clip(tmp_path: Path, make) -> None:
    tick = Fraction(1, 12800)
    times = [number * tick for number in (0, 500, 1100, 1777, 3000)]
    source = make.encode(tmp_path / "in.mp4", make.moving(5), times=times, tick=tick)
    with open_clip(source) as clip:
        write(tmp_path / "out.mp4", [frame.image for frame in clip], clip.info.fps, [frame.time for frame in clip])
    copied = [frame.time for frame in read(tmp_path / "out.mp4")]
    assert max(abs(a - b) for a, b in zip(copied, times, strict=True)) <= Fraction(1, 90_000)


def test_gif_delays_carry_their_rounding_on(tmp_path: Path, make) -> None:
    write(tmp_path / "v.gif", make.moving(30), 30)
    info = probe(tmp_path / "v.gif")
    assert info.fps == 30 and info.duration_s == pytest.approx(1.0) and not info.variable_rate


def test_gif_warns_above_50(tmp_path: Path, make) -> None:
    with pytest.warns(UserWarning, match="not 200"):
        write(tmp_path / "v.gif", make.moving(4), 200)
    assert probe(tmp_path / "v.gif").fps == 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path / "w.gif", make.moving(4), 50)


def test_gif_keeps_few_colours_exactly_and_many_nearly(tmp_path: Path) -> None:
    few = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)
    few = few[np.random.default_rng(1).integers(0, 200, (120, 130))]
    y, x = np.mgrid[:120, :130]
    many = np.stack([x, 2 * y, x // 2 + y // 2], -1).astype(np.uint8)
    write(tmp_path / "v.gif", [few, many, few[:, ::-1]])
    frames = read(tmp_path / "v.gif")
    np.testing.assert_array_equal(frames[0].image, few)
    np.testing.assert_array_equal(frames[2].image, few[:, ::-1])
    assert np.abs(frames[1].image.astype(int) - many).mean() < 8


def test_mp4_plays_everywhere(tmp_path: Path, make) -> None:
    write(tmp_path / "v.mp4", make.moving(4))
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    with av.open(str(tmp_path / "v.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace, context.color_range) == ("h264", "yuv420p", 1, 1)


def test_same_input_same_bytes(tmp_path: Path, make) -> None:
    for name in ("v.mp4", "v.gif"):
        write(tmp_path / f"a{name}", make.moving(5))
        write(tmp_path / f"b{name}", make.moving(5))
        assert (tmp_path / f"a{name}").read_bytes() == (tmp_path / f"b{name}").read_bytes()


MARK = json.dumps({"software": "test", "digital_source_type": DIGITAL_SOURCE_TYPE, "note": 'é<&>"' * 300})


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "frames"])
@pytest.mark.parametrize("mark", [None, MARK])
def test_every_output_is_marked(tmp_path: Path, make, name: str, mark: str | None) -> None:
    write(tmp_path / name, make.moving(2), mark=mark)
    found = find_mark(tmp_path / name)
    assert found is not None
    fields = json.loads(found)
    assert fields["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert mark is None or fields == json.loads(mark)


def test_marks_that_other_software_reads(tmp_path: Path, make) -> None:
    write(tmp_path / "v.mp4", make.moving(2), lossless=True)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert DIGITAL_SOURCE_TYPE in container.metadata["comment"]
        assert DIGITAL_SOURCE_TYPE in container.metadata["description"]
    packet = f"<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>".encode()
    assert packet in (tmp_path / "v.mp4").read_bytes()
    write(tmp_path / "frames", make.moving(2))
    for number in range(2):
        with Image.open(tmp_path / "frames" / f"frame_00000{number}.png") as image:
            assert packet.decode() in image.text["XML:com.adobe.xmp"]


def test_an_unmarked_clip_has_no_mark(tmp_path: Path, make) -> None:
    assert find_mark(make.encode(tmp_path / "v.mp4", make.moving(2))) is None
    Image.fromarray(make.moving(1)[0]).save(tmp_path / "p.png")
    assert find_mark(tmp_path / "p.png") is None


@pytest.mark.parametrize("mark", ["text", "[1]", json.dumps({"x": "y" * 70_000})])
def test_senseless_marks_are_refused(tmp_path: Path, mark: str) -> None:
    with pytest.raises(OptionError, match="mark"):
        open_writer(tmp_path / "v.mp4", fps=25, size=(16, 16), mark=mark)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.avi", {}),
        ("v.mp4", {"fps": 0}),
        ("v.mp4", {"fps": "fast"}),
        ("v.mp4", {"crf": 52}),
        ("v.mp4", {"origin": -1}),
    ],
)
def test_senseless_options(tmp_path: Path, name: str, options: dict) -> None:
    with pytest.raises(OptionError):
        open_writer(tmp_path / name, **{"fps": 25, "size": (16, 16), **options})


def test_wrong_frames_are_refused_and_nothing_stays(tmp_path: Path) -> None:
    good = np.zeros((16, 20, 3), np.uint8)
    wrong = [
        (good.astype(np.float32), DtypeError),
        (good.tolist(), DtypeError),
        (good[:, :, 0], ShapeError),
        (good[:15], ShapeError),
        (good.swapaxes(0, 1), ShapeError),
    ]
    for name in ("v.mp4", "v.gif", "frames"):
        for image, error in wrong:
            with pytest.raises(error), open_writer(tmp_path / name, fps=25, size=(20, 16)) as writer:
                writer.write(good)
                writer.write(image)
            assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.mp4", "v.gif", "frames"])
def test_times_must_grow(tmp_path: Path, name: str) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(MediaError, match="not later"), open_writer(tmp_path / name, fps=25, size=(16, 16)) as writer:
        writer.write(image, Fraction(1))
        writer.write(image, Fraction(1))
    assert list(tmp_path.iterdir()) == []


def test_views_and_mirrored_arrays_can_be_written(tmp_path: Path) -> None:
    image = noise(1, 32, 32)[0]
    write(tmp_path / "frames", [image[::-1, ::-1], image[::2, ::2].repeat(2, 0).repeat(2, 1)])
    np.testing.assert_array_equal(read(tmp_path / "frames")[0].image, image[::-1, ::-1])
