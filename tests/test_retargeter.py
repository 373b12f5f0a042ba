"""The public class: streams, clips, reports, motion files, what is written and what is refused."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eamfmeg_fast
from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import DtypeError, EamfmegError, FaceError, InputError, OptionError, ShapeError
from eamfmeg_fast.lab import HELD_OUT_SEEDS, lab_clip
from eamfmeg_fast.media import open_clip, open_writer, probe
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.provenance import read_mark, sha256_of, verify
from eamfmeg_fast.retargeter import Retargeter

SIZE = 128


@pytest.fixture(scope="module")
def retargeter() -> Retargeter:
    """Seeded weights at half the size: quick, and every property but beauty is the same."""
    return Retargeter(fill_seeded(build_network(replace(PRESETS["small"], size=SIZE))))


@pytest.fixture
def fresh(retargeter: Retargeter) -> Iterator[Retargeter]:
    """The same one, without target and reference before and after."""
    retargeter._target = retargeter._reference = None
    yield retargeter
    retargeter._target = retargeter._reference = None


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Four frames of a lab clip with a clear movement; the first is neutral."""
    clip = lab_clip(HELD_OUT_SEEDS[1], action_units={12: 1.5, 4: 1.5}, size=SIZE, fps=50, seed=1, drift=0, noisy=False)
    return [clip.frames[t].numpy() for t in (0, (clip.onset + clip.apex) // 2, clip.apex, len(clip.frames) - 1)]


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    return lab_clip(HELD_OUT_SEEDS[9], size=SIZE, fps=25, seed=9, duration_s=0.1, noisy=False).frames[0].numpy()


@pytest.fixture(scope="module")
def big() -> np.ndarray:
    """A face with room around it, larger than the network's picture."""
    face = lab_clip(HELD_OUT_SEEDS[1], fps=25, seed=1, duration_s=0.1, noisy=False).frames[0].numpy()
    picture = np.full((300, 400, 3), 90, np.uint8)
    picture[20:276, 70:326] = face
    return picture


def folder_of(path: Path, frames: list[np.ndarray], **notes: object) -> Path:
    path.mkdir()
    for number, frame in enumerate(frames, int(notes.get("origin", 0))):  # type: ignore[call-overload]
        Image.fromarray(frame).save(path / f"img{number}.png")
    if notes:
        (path / "clip.json").write_text(json.dumps(notes))
    return path


def test_the_package_offers_it() -> None:
    assert eamfmeg_fast.Retargeter is Retargeter


def test_a_still_clip_gives_a_still_picture(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    images = [frame.image for frame in fresh(target, [frames[2]] * 3)]
    assert images[0].shape == (SIZE, SIZE, 3) and images[0].dtype == np.uint8
    assert all((image == images[0]).all() for image in images)


def test_movement_moves_it(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    images = [frame.image.astype(int) for frame in fresh(target, frames)]
    assert np.abs(images[2] - images[0]).max() > 2


def test_stream_call_and_drive_agree(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    fresh.set_target(target)
    streamed = list(fresh.stream(iter(frames)))
    called = list(fresh(target, frames))
    driven = [fresh.drive(frame) for frame in frames]
    for one, two, three, number in zip(streamed, called, driven, range(4)):
        assert (one.image == two.image).all() and (one.image == three.image).all()
        assert one.index == number and one.time == Fraction(number, 25)
        assert {"read", "face", "keypoints", "draw"} == set(one.timings) and min(one.timings.values()) >= 0


def test_a_file_gives_what_its_frames_give(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    Image.fromarray(target).save(tmp_path / "face.png")
    clip = fresh(tmp_path / "face.png", folder_of(tmp_path / "clip", frames, fps=200, origin=46))
    assert clip.fps == 200
    drawn = list(clip)
    assert [frame.time for frame in drawn] == [Fraction(n, 200) for n in range(4)]
    assert all((a.image == b.image).all() for a, b in zip(drawn, fresh(Image.fromarray(target), frames), strict=True))


def test_a_clip_can_be_read_again_but_an_iterator_only_once(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]
) -> None:
    clip = fresh(target, frames[:2])
    assert [f.image.tobytes() for f in clip] == [f.image.tobytes() for f in clip]
    once = fresh(target, iter(frames[:2]))
    assert len(list(once)) == 2
    with pytest.raises(InputError, match="used up"):
        list(once)


def test_frames_are_pulled_one_at_a_time_and_let_go(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(8):
            frame = frames[number % 4].copy()
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive))
            yield frame
            del frame

    fresh(target, camera()).save(tmp_path / "out")
    assert len(alive) == 8 and most <= 3


def test_the_reference_can_be_chosen(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    chosen = fresh(target, frames, reference_frame=2)
    by_number = [frame.image for frame in chosen]
    assert chosen.report is not None and chosen.report.reference_frame == 2
    fresh.set_reference(frames[2])
    clip = fresh(target, frames)
    assert all((a == b.image).all() for a, b in zip(by_number, clip, strict=True))
    assert clip.report is not None and clip.report.reference_frame is None
    fresh.set_reference(None)
    assert any((a != b.image).any() for a, b in zip(by_number, fresh(target, frames), strict=True))


def test_the_automatic_reference_is_most_like_the_target(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]
) -> None:
    clip = fresh(target, [frames[1], frames[2], target, frames[0]], reference_frame="auto")
    next(iter(clip))
    assert clip.report is not None and clip.report.reference_frame == 2


@pytest.mark.parametrize("wanted", [99, -1, "best", True])
def test_references_that_are_not_there_are_refused(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], wanted: object
) -> None:
    with pytest.raises(OptionError, match="reference frame"):
        list(fresh(target, frames, reference_frame=wanted))


def test_gain_scales_and_none_is_the_presets(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    moved = {g: fresh.reference(target, frames[0], frames[2], "relative", g) for g in (None, 1.0, 3.0)}
    one, three = (moved[g]["kp_moved"] - moved[g]["kp_target"] for g in (1.0, 3.0))
    assert np.allclose(three, 3 * one, atol=1e-5) and np.abs(one).max() > 1e-4
    assert (moved[None]["kp_moved"] == moved[1.0]["kp_moved"]).all()
    assert fresh(target, frames).gain == PRESETS["small"].gain
    assert fresh(target, frames, gain=2.5).gain == 2.5


def test_the_trace_has_the_stages(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    trace = fresh.reference(target, frames[0], frames[2])
    assert {"kp_target", "kp_moved", "mask", "flow", "occlusion", "edge_map", "prediction"} <= set(trace)
    image = np.floor(trace["prediction"][0].transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
    drawn = list(fresh(target, [frames[0], frames[2]]))
    assert (image == drawn[1].image).all()


@pytest.mark.parametrize(("on_lost", "kept"), [("hold", [0, 1, 2, 3]), ("skip", [0, 1, 3]), ("stop", [0, 1])])
def test_a_lost_face(fresh: Retargeter, target: np.ndarray, big: np.ndarray, on_lost: str, kept: list[int]) -> None:
    gone = np.random.default_rng(0).integers(0, 256, big.shape, dtype=np.uint8)
    # The face is looked for every fifth frame, and in each while it is away.
    frames = [big] * 4 + [gone] + [big]
    number = {0: 0, 1: 3, 2: 4, 3: 5}
    clip = fresh(target, frames, crop_driving="auto", on_lost=on_lost)
    drawn = list(clip)
    wanted = [n for n in range(6) if n in (1, 2) or n in {number[k] for k in kept}]
    assert [frame.index for frame in drawn] == wanted
    report = clip.report
    assert report is not None and (report.lost, report.lost_frames, report.frames) == (1, [4], len(drawn))
    assert report.stopped_at == (4 if on_lost == "stop" else None)
    if on_lost == "hold":
        assert drawn[4].lost and (drawn[4].image == drawn[3].image).all() and not drawn[5].lost


def test_no_face_at_the_start_is_an_error(fresh: Retargeter, target: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(FaceError, match="--crop none"):
        list(fresh(target, [noise], crop_driving="auto"))
    with pytest.raises(FaceError):
        fresh.set_target(noise)
    fresh.set_target(noise, crop="none")


def test_crops_of_target_and_clip(fresh: Retargeter, big: np.ndarray) -> None:
    clip = fresh(big, [big] * 2)
    drawn = list(clip)
    assert clip.report is not None
    assert clip.report.options["crop_target"] == clip.report.options["crop_driving"] != "0,0,400,300"
    assert drawn[0].driving is not None and (drawn[0].driving == clip.target.picture).all()
    boxed = fresh(big, [big], crop=(70, 20, 256, 256), crop_driving="none")
    next(iter(boxed))
    assert str(boxed.target.crop) == "70,20,256,256" and str(boxed.driving.crop) == "50,0,300,300"


def test_frames_cut_like_the_reference(fresh: Retargeter, target: np.ndarray, big: np.ndarray) -> None:
    fresh.set_reference(big, crop=(70, 20, 256, 256))
    clip = fresh(target, [big])
    assert len({frame.image.tobytes() for frame in clip}) == 1 and str(clip.driving.crop) == "70,20,256,256"


def test_a_frame_of_another_size_is_an_error(fresh: Retargeter, target: np.ndarray, big: np.ndarray) -> None:
    with pytest.raises(EamfmegError, match="100x50"):
        list(fresh(target, [big, big[:50, :100]], crop_driving="none"))


def test_saved_mp4(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path) -> None:
    Image.fromarray(target).save(tmp_path / "face.png")
    driving = tmp_path / "driving.mp4"
    with open_writer(driving, fps=Fraction(30000, 1001), size=(SIZE, SIZE), lossless=True) as writer:
        for number in (0, 1, 3, 4):
            writer.write(frames[number % 4], Fraction(number * 1001, 30000))
    clip = fresh(tmp_path / "face.png", driving)
    seen: list[int] = []
    report = clip.save(tmp_path / "out.mp4", lossless=True, on_frame=lambda frame: seen.append(frame.index))
    assert seen == [0, 1, 2, 3] and report.frames == 4 and report is clip.report
    with open_clip(tmp_path / "out.mp4") as result:
        kept = list(result)
    late = [frame.time - Fraction(n * 1001, 30000) for frame, n in zip(kept, (0, 1, 3, 4), strict=True)]
    assert max(map(abs, late)) <= Fraction(1, 90000)
    assert all((a.image == b.image).all() for a, b in zip(kept, clip, strict=True))
    assert verify(tmp_path / "out.mp4").ok
    mark = read_mark(tmp_path / "out.mp4")
    assert mark is not None and mark.target_sha256 == sha256_of(tmp_path / "face.png")
    assert mark.driving_sha256 == sha256_of(driving) and mark.weights_sha256 == fresh.weights_sha256
    assert mark.options["gain"] == 1.0 and mark.options["reference_frame"] == 0
    assert sorted(os.listdir(tmp_path)) == ["driving.mp4", "face.png", "out.mp4", "out.mp4.json"]


def test_saved_folder_keeps_numbers_and_rate(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    driving = folder_of(tmp_path / "clip", frames, fps=200, origin=46)
    fresh(target, driving, start=1, end=3).save(tmp_path / "out")
    assert {"frame_000047.png", "frame_000048.png", "clip.json", "manifest.json"} == set(os.listdir(tmp_path / "out"))
    assert probe(tmp_path / "out").fps == 200 and probe(tmp_path / "out").origin == 47
    assert verify(tmp_path / "out").ok


def test_side_by_side(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path) -> None:
    fresh(target, frames[:2]).save(tmp_path / "out", side_by_side=True)
    with open_clip(tmp_path / "out") as clip:
        panels = next(iter(clip)).image
    assert panels.shape == (SIZE, 3 * SIZE, 3)
    assert (panels[:, :SIZE] == target).all() and (panels[:, SIZE : 2 * SIZE] == frames[0]).all()


def test_what_exists_is_kept_unless_told(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    for name in ("out.mp4", "new.mp4.json", "m.safetensors"):
        (tmp_path / name).write_text("mine")
    clip = fresh(target, frames[:1])
    for path, motion in (("out.mp4", None), ("new.mp4", None), ("else.mp4", tmp_path / "m.safetensors")):
        with pytest.raises(OptionError, match="exists"):
            clip.save(tmp_path / path, save_motion=motion)
    assert {(tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {"mine"}
    clip.save(tmp_path / "out.mp4", overwrite=True)
    assert verify(tmp_path / "out.mp4").ok


def test_outputs_are_never_inputs(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    driving = folder_of(tmp_path / "clip", frames)
    for path in (driving, tmp_path):
        with pytest.raises(EamfmegError):
            fresh(target, driving).save(path, overwrite=True)
    assert len(os.listdir(driving)) == 4


def test_a_failure_half_way_leaves_nothing(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh(target, broken()).save(tmp_path / "out.mp4", save_motion=tmp_path / "m.safetensors")
    bad = folder_of(tmp_path / "clip", frames)
    (bad / "img2.png").write_bytes((bad / "img2.png").read_bytes()[:500])
    with pytest.raises(EamfmegError):
        fresh(target, bad).save(tmp_path / "out")
    assert os.listdir(tmp_path) == ["clip"]


def test_a_motion_file_draws_the_same(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    clip = fresh(target, iter(frames), fps=200)
    clip.save(tmp_path / "out", save_motion=path)
    again = fresh(target, path)
    assert again.fps == 200
    for one, two in zip(fresh(target, frames, fps=200), again, strict=True):
        assert (one.image == two.image).all() and (one.index, one.time) == (two.index, two.time)
    moved = fresh(target, path, reference_frame=2)
    pairs = zip(fresh(target, frames, reference_frame=2), moved, strict=True)
    assert all((one.image == two.image).all() for one, two in pairs)
    with pytest.raises(OptionError):
        fresh(target, path, start=1)
    with pytest.raises(OptionError, match="reference frame 9"):
        list(fresh(target, path, reference_frame=9))


def test_a_motion_file_of_other_weights_is_refused(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    fresh(target, frames[:1]).save(tmp_path / "out", save_motion=path)
    other = Retargeter(fill_seeded(build_network(replace(PRESETS["small"], size=SIZE)), salt="other"))
    with pytest.raises(InputError, match="other weights"):
        other(target, path)


def test_one_state_serves_many_clips(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    ready = fresh.open_target(target)
    assert (ready.state.picture == fresh.prepare(target).picture).all()
    assert len(list(fresh.stream(frames[:2], target=ready))) == 2


@pytest.mark.parametrize(
    "options",
    [{"motion": "sideways"}, {"gain": -1}, {"gain": float("nan")}, {"gain": 101}, {"gain": "2"}, {"threads": 0},
     {"device": "tpu"}, {"precision": "fp8"}],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(retargeter: Retargeter, options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Retargeter(retargeter.engine.network, **options)  # type: ignore[arg-type]


def test_inputs_that_mean_nothing_are_refused(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="set_target"):
        fresh.stream(frames)
    with pytest.raises(InputError, match="set_target"):
        fresh.drive(frames[0])
    with pytest.raises(OptionError, match="speed"):
        fresh(target, frames, speed=2)
    with pytest.raises(OptionError, match="on_lost"):
        fresh(target, frames, on_lost="panic")
    with pytest.raises(OptionError, match="start"):
        fresh(target, frames, start=1)
    with pytest.raises(InputError):
        fresh(target, 7)
    with pytest.raises(InputError, match="iterator"):
        fresh(target, iter(frames), reference_frame=2)
    with pytest.raises(DtypeError):
        list(fresh(target, [frames[0].astype(np.float32)]))
    with pytest.raises(ShapeError):
        fresh.set_target(target[..., 0])
    with pytest.raises(EamfmegError, match="no frame"):
        list(fresh(target, []))
    with pytest.raises(EamfmegError, match="no frame"):
        list(fresh(target, iter([])))
    with pytest.raises(EamfmegError, match="nothing.mp4"):
        fresh(target, tmp_path / "nothing.mp4")
