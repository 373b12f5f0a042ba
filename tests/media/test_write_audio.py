"""The sound of the driving clip comes along, in step with the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from eamfmeg_fast.media import open_clip, open_writer, probe


def copy(source: Path, output: Path, **span) -> None:
    with open_clip(source, **span) as clip:
        size = (clip.info.width, clip.info.height)
        with open_writer(output, fps=clip.info.fps or 25, size=size, audio_from=source) as writer:
            for frame in clip:
                writer.write(frame.image, frame.time)


def sound(path: Path) -> tuple[str, float, np.ndarray]:
    """Codec, begin in seconds, and samples at 48 kHz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return stream.codec_context.name, float(frames[0].pts * frames[0].time_base), samples


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_aac_is_copied_untouched(tmp_path: Path, make) -> None:
    source = make.encode(tmp_path / "in.mp4", make.moving(30), audio="aac", seconds=1.2)
    copy(source, tmp_path / "out.mp4")
    codec, begin, samples = sound(tmp_path / "out.mp4")
    assert codec == "aac" and abs(begin) < 0.03 and abs(len(samples) / 48000 - 1.2) < 0.05
    given, kept = packets(source), packets(tmp_path / "out.mp4")
    assert set(kept) <= set(given) and len(kept) >= len(given) - 2


@pytest.mark.parametrize(
    ("audio", "container", "codec"), [("flac", "matroska", "libx264"), ("pcm_s16le", "mov", "libx264")]
)
def test_other_sound_becomes_aac(tmp_path: Path, make, audio: str, container: str, codec: str) -> None:
    source = make.encode(tmp_path / "in", make.moving(30), codec=codec, container=container, audio=audio, seconds=1.2)
    copy(source, tmp_path / "out.mp4")
    codec, begin, samples = sound(tmp_path / "out.mp4")
    assert codec == "aac" and abs(begin) < 0.03 and abs(len(samples) / 48000 - 1.2) < 0.08
    middle = samples[20_000:30_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(spectrum.argmax() * 48000 / len(middle) - 440) < 10


@pytest.mark.parametrize(
    ("start", "end", "length"), [("0.4s", "1s", 0.6), (10, 25, 0.6), (None, 15, 0.6), (20, None, 0.4)]
)
@pytest.mark.parametrize("audio", ["aac", "flac", "libopus"])
def test_a_span_takes_its_own_sound(tmp_path: Path, make, start, end, length: float, audio: str) -> None:
    kind = {"aac": ("libx264", "mp4"), "flac": ("libx264", "matroska"), "libopus": ("libvpx", "webm")}[audio]
    source = make.encode(tmp_path / "in", make.moving(30), codec=kind[0], container=kind[1], audio=audio, seconds=1.2)
    copy(source, tmp_path / "out.mp4", start=start, end=end)
    _, begin, samples = sound(tmp_path / "out.mp4")
    assert abs(begin) < 0.03 and abs(len(samples) / 48000 - length) < 0.06
    assert probe(tmp_path / "out.mp4").duration_s == pytest.approx(length, abs=0.001)


def test_sound_stays_in_step(tmp_path: Path, make) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        audio = out.add_stream("aac", rate=48000)
        for image in make.moving(50):
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(video.encode(None))
        wave = np.zeros((1, 96000), np.float32)
        wave[:, 57600:58560] = np.random.default_rng(0).uniform(-0.9, 0.9, 960)
        for begin in range(0, 96000 - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[:, begin : begin + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, begin
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    copy(tmp_path / "in.mp4", tmp_path / "out.mp4", start="0.8s", end="1.8s")
    _, begin, samples = sound(tmp_path / "out.mp4")
    clap = begin + np.abs(samples).argmax() / 48000
    assert abs(clap - 0.41) < 0.03


@pytest.mark.parametrize("kind", ["silent.mp4", "gif", "folder", "picture"])
def test_no_sound_is_fine(tmp_path: Path, make, kind: str) -> None:
    made = make.moving(3)
    source = (
        tmp_path / {"silent.mp4": "in.mp4", "gif": "in.gif", "folder": "in", "picture": "in/frame_000000.png"}[kind]
    )
    place = tmp_path / "in" if kind == "picture" else source
    with open_writer(place, fps=Fraction(25), size=(32, 24)) as writer:
        for image in made:
            writer.write(image)
    copy(source, tmp_path / "out.mp4")
    assert not probe(tmp_path / "out.mp4").has_audio


@pytest.mark.parametrize("name", ["out.gif", "out"])
def test_outputs_without_sound_ignore_it(tmp_path: Path, make, name: str) -> None:
    copy(make.encode(tmp_path / "in.mp4", make.moving(5), audio="aac"), tmp_path / name)
    assert probe(tmp_path / name).frame_count == 5
