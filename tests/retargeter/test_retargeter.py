"""The public class: streams, clips, reports, motion files, what is written and what is refused."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eamfmeg_fast
from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.driving import OneEuro
from eamfmeg_fast.errors import DtypeError, EamfmegError, FaceError, InputError, OptionError, ShapeError
from eamfmeg_fast.retargeter import Retargeter

SIZE = 128
FolderOf = Callable[..., Path]


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


def test_a_refused_frame_is_no_reference(fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]) -> None:
    fresh.set_target(target)
    expected = [fresh.drive(frame).image for frame in frames]
    fresh.set_reference(None)
    with pytest.raises(ShapeError):
        fresh.drive(np.pad(frames[-1], ((0, 0), (9, 0), (0, 0))))
    assert all((a == fresh.drive(frame).image).all() for a, frame in zip(expected, frames, strict=True))


def test_a_file_gives_what_its_frames_give(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    Image.fromarray(target).save(tmp_path / "face.png")
    clip = fresh(tmp_path / "face.png", folder_of(tmp_path / "clip", frames, fps=200, origin=46))
    assert clip.fps == 200
    assert clip.options.smoothing == fresh(target, frames).options.smoothing == "none"
    clip = fresh(tmp_path / "face.png", tmp_path / "clip", reference_frame=0)
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


def test_smoothing_is_drawn_and_told_but_not_kept(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray]
) -> None:
    """Frames keep the keypoints that were found, so that a saved motion can be smoothed in another way."""
    plain, smooth = (list(fresh(target, frames, smoothing=mode)) for mode in ("none", "centred"))
    assert any((a.image != b.image).any() for a, b in zip(plain, smooth, strict=True))
    assert all((a.keypoints.kp == b.keypoints.kp).all() for a, b in zip(plain, smooth, strict=True))
    assert all(a.timings.keys() == b.timings.keys() for a, b in zip(plain, smooth, strict=True))
    clip = fresh(target, [frames[2]] * 3, smoothing="causal")
    still = [frame.image for frame in clip]
    assert all((image == still[0]).all() for image in still)
    assert clip.report is not None
    told = clip.report.options
    assert told["smoothing"] == "causal" and told["smoothing_cutoff_hz"] == OneEuro().cutoff_hz
    assert (told["still_px"], told["relative_occlusion"]) == (0.05, True)


def test_a_clip_on_disk_is_measured_from_its_still_beginning(
    fresh: Retargeter, target: np.ndarray, frames: list[np.ndarray], tmp_path: Path, folder_of: FolderOf
) -> None:
    rng = np.random.default_rng(4)
    noisy = [np.clip(frames[0] + rng.normal(0, 0.6, frames[0].shape), 0, 255).astype(np.uint8) for _ in range(4)]
    found = [fresh.engine.detect(frame).kp for frame in noisy]
    path = folder_of(tmp_path / "clip", noisy, fps=200)
    clip = fresh(target, path)
    kp, averaged = clip.initial()
    assert averaged == range(4) and np.allclose(kp.kp, np.mean(found, axis=0), atol=1e-6)
    next(iter(clip))
    assert clip.report is not None and clip.report.options["reference_frame"] == "steadied 0-3"
    assert (fresh(target, path, reference_frame=0).initial()[0].kp == found[0]).all()
    assert (fresh(target, noisy).initial()[0].kp == found[0]).all()


def test_what_steadies_can_be_switched_off(
    retargeter: Retargeter, target: np.ndarray, frames: list[np.ndarray]
) -> None:
    plain = Retargeter(retargeter.engine.network, still_px=0, relative_occlusion=False)
    assert plain.config == replace(retargeter.config, still_px=0, relative_occlusion=False)
    assert retargeter.engine.network.config == retargeter.config != plain.config
    assert plain.open_target(target).state.rest is None
    at_rest = [next(iter(one(target, frames[:1]))).image for one in (plain, retargeter)]
    assert (at_rest[1] == target).all() and (at_rest[0] != target).any()
    with pytest.raises(OptionError, match="still_px"):
        Retargeter(retargeter.engine.network, still_px=-1)


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
    assert np.abs(image.astype(int) - drawn[1].image).max() <= 2


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
