"""Small clips made on the fly, and the copy that every refusal is tried with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media import open_clip, open_writer


def moving(count: int, width: int = 32, height: int = 24) -> list[np.ndarray]:
    """Frames of a smooth gradient whose brightness tells the frame number."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 120 // width, y * 120 // height, (x + y) * 90 // (width + height)], -1)
    return [np.clip(base + 20 + 2 * (number % 50), 0, 255).astype(np.uint8) for number in range(count)]


def encode(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: Fraction | int = 25,
    *,
    codec: str = "libx264",
    container: str = "mp4",
    times: list[Fraction] | None = None,
    tick: Fraction | None = None,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    seconds: float = 1.0,
) -> Path:
    """A video by PyAV alone, so that reading is not tested with our own writer."""
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        stream = out.add_stream(codec, rate=Fraction(fps))
        sound = out.add_stream(audio, rate=48000) if audio else None
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p" if image.shape[0] % 2 == image.shape[1] % 2 == 0 else "yuv444p"
                if tick is not None:
                    stream.codec_context.time_base = tick
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            for begin in range(0, int(48000 * seconds), 1024):
                wave = np.sin((begin + np.arange(1024)) * 2 * np.pi * 440 / 48000).astype(np.float32)[None]
                samples = av.AudioFrame.from_ndarray(wave * 0.2, format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48000, begin
                out.mux(sound.encode(samples))
            out.mux(sound.encode(None))
    return path


def refused(path: Path, tmp_path: Path, match: str | None = None) -> str:
    """Tries to copy a clip, and checks that one clear line comes and nothing is left behind."""
    place = tmp_path / "outputs"
    place.mkdir(exist_ok=True)
    with pytest.raises(MediaError, match=match) as caught, open_clip(path) as clip:
        size = (clip.info.width, clip.info.height)
        with open_writer(place / "out.mp4", fps=clip.info.fps or 25, size=size, audio_from=path) as writer:
            for frame in clip:
                writer.write(frame.image, frame.time)
    assert list(place.iterdir()) == []
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.fixture
def make() -> SimpleNamespace:
    """`make.moving`, `make.encode` and `make.refused`."""
    return SimpleNamespace(moving=moving, encode=encode, refused=refused)


@pytest.fixture
def no_file_descriptors_lost() -> Iterable[Callable[[], int]]:
    """Fails a test after which more files are open than before."""

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    yield count
    assert count() <= before
