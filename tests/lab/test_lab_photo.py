"""The warp of a photograph, on a made-up face: exact at rest, true to its labels, still elsewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eamfmeg_fast.errors import DtypeError, EamfmegError, OptionError, ShapeError
from eamfmeg_fast.lab import EMOTIONS, HELD_OUT_SEEDS, LANDMARKS, lab_clip
from eamfmeg_fast.lab.anatomy import landmark_places
from eamfmeg_fast.lab.photo import PhotoClip, PhotoFrame, photo_clip
from eamfmeg_fast.lab.photo_fit import fit_head, look_closer, mean_face

SIZE = 128
Places = dict[str, tuple[float, float]]


def _named(places: torch.Tensor, count: int = len(LANDMARKS)) -> Places:
    return {name: (float(x), float(y)) for name, (x, y) in zip(LANDMARKS[:count], places.tolist(), strict=False)}


@pytest.fixture(scope="module")
def sitting() -> tuple[torch.Tensor, Places]:
    """A neutral lab face as a picture, and where its landmarks are."""
    clip = lab_clip(HELD_OUT_SEEDS[3], action_units={}, size=SIZE, fps=25, noisy=False, drift=0.0)
    return clip.frames[0], _named(clip.landmarks_px[0])


def _clip(sitting: tuple[torch.Tensor, Places], units: dict[int, float], **options: object) -> PhotoClip:
    return photo_clip(*sitting, units, fps=50, seed=1, symmetric=True, duration_s=0.2, **options)  # type: ignore[arg-type]


def _apex(clip: PhotoClip) -> PhotoFrame:
    return list(clip.frames())[clip.apex]


def test_frames_at_rest_are_the_photo_bit_for_bit(sitting: tuple[torch.Tensor, Places]) -> None:
    clip = _clip(sitting, EMOTIONS["happiness"])
    frames = list(clip.frames())
    assert len(frames) == len(clip) and 0 < clip.onset < clip.apex < clip.offset < len(clip)
    for number, frame in enumerate(frames):
        rest = number <= clip.onset or number >= clip.offset
        assert torch.equal(frame.image, sitting[0]) == rest, number
        assert (float(frame.displacement_px.abs().max()) == 0.0) == rest, number
        assert rest or not torch.equal(frame.landmarks_px, frames[0].landmarks_px)
    assert frames[0].valid.all()
    assert frames[0].landmarks_px.tolist() == pytest.approx(np.array(list(sitting[1].values())), abs=1e-3)


@pytest.mark.parametrize("emotion", ["happiness", "surprise", "anger"])
def test_a_frame_shows_the_photo_where_its_displacement_says(
    sitting: tuple[torch.Tensor, Places], emotion: str
) -> None:
    frame = _apex(_clip(sitting, EMOTIONS[emotion]))
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    way = frame.displacement_px.numpy()
    there = cv2.remap(sitting[0].numpy(), x + way[..., 0], y + way[..., 1], cv2.INTER_CUBIC, borderMode=1)
    moved = frame.valid.numpy() & (np.abs(way).max(-1) > 0.3)
    assert moved.sum() > 500
    off = np.abs(there.astype(int) - frame.image.numpy().astype(int)).max(-1)
    still = np.abs(sitting[0].numpy().astype(int) - frame.image.numpy().astype(int)).max(-1)
    assert still[frame.valid.numpy() & (way == 0.0).all(-1)].max() <= 1
    # The other resampler rounds places to 1/32 px; that is all they may differ by.
    assert off[moved].mean() < 0.25 * still[moved].mean() and np.percentile(off[frame.valid.numpy()], 99.5) <= 6


def test_landmarks_move_with_the_displacement(sitting: tuple[torch.Tensor, Places]) -> None:
    clip = _clip(sitting, {12: 0.8, 4: 0.6, 45: 0.0})
    frame, checked = _apex(clip), 0
    for name, at, was in zip(LANDMARKS, frame.landmarks_px.numpy(), sitting[1].values(), strict=True):
        if "lid" in name or "lip" == name[-3:] or not all(2 < v < SIZE - 3 for v in at):
            continue
        way = cv2.remap(frame.displacement_px.numpy(), *(np.full((1, 1), v, np.float32) for v in at), cv2.INTER_LINEAR)
        assert at + way[0, 0] == pytest.approx(np.array(was), abs=0.12), name
        checked += 1
    assert checked > 12


def test_the_photo_moves_as_the_lab_does(sitting: tuple[torch.Tensor, Places]) -> None:
    units = {12: 0.8}
    lab = lab_clip(HELD_OUT_SEEDS[3], action_units=units, size=SIZE, fps=50, noisy=False, drift=0.0, symmetric=True)
    truth = (lab.landmarks_px[lab.apex] - lab.landmarks_px[0])[[6, 7]]
    frame = _apex(_clip(sitting, units))
    found = (frame.landmarks_px - torch.tensor(list(sitting[1].values())))[[6, 7]]
    assert truth.norm(dim=1).min() > 0.8
    assert torch.nn.functional.cosine_similarity(truth, found).min() > 0.9
    assert (found.norm(dim=1) / truth.norm(dim=1) - 1.0).abs().max() < 0.35


def test_nothing_outside_the_face_moves(sitting: tuple[torch.Tensor, Places]) -> None:
    strong = dict.fromkeys((1, 2, 4, 6, 9, 12, 17, 20), 1.0)
    clip = lab_clip(HELD_OUT_SEEDS[5], action_units={}, size=SIZE, fps=25, noisy=False, drift=0.0)
    small = cv2.resize(clip.frames[0].numpy(), (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    wide = np.full((SIZE, SIZE, 3), 90, np.uint8)
    wide[32:96, 32:96] = small
    places = {name: (x / 2 + 32, y / 2 + 32) for name, (x, y) in _named(clip.landmarks_px[0]).items()}
    frame = _apex(photo_clip(torch.from_numpy(wide), places, strong, fps=50, symmetric=True))
    head = fit_head(places)
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    away = (torch.stack(head.to_head(x[None], y[None])).square().sum(0)[0].sqrt() > 1.25).numpy()
    assert away.sum() > SIZE and float(frame.displacement_px.abs().max()) > 0.5
    assert not frame.displacement_px.numpy()[away].any() and (frame.image.numpy() == wide)[away].all()


def test_a_closing_lid_brings_its_skin_down_over_the_eye(sitting: tuple[torch.Tensor, Places]) -> None:
    frame = _apex(_clip(sitting, {45: 1.0}))
    for side in ("left", "right"):
        (x, top), (_, bottom) = sitting[1][f"upper_lid_{side}"], sitting[1][f"lower_lid_{side}"]
        column = frame.displacement_px[round(top + 0.3 * (bottom - top)) : round(top + 0.6 * (bottom - top)), round(x)]
        assert float(column[:, 1].max()) < -1.0


def test_opened_lips_show_something_dark_that_is_no_truth(sitting: tuple[torch.Tensor, Places]) -> None:
    frame = _apex(_clip(sitting, {25: 1.5}))
    (x, top), (_, bottom) = sitting[1]["upper_lip"], sitting[1]["lower_lip"]
    rows, column = slice(round(top) - 2, round(bottom) + 5), round(x)
    hidden = ~frame.valid[rows, column]
    assert 1 <= int(hidden.sum()) <= 8
    assert float(frame.image[rows, column][hidden].float().mean()) < 0.6 * float(
        sitting[0][rows, column].float().mean()
    )


def test_an_eye_that_opens_is_stretched_not_torn(sitting: tuple[torch.Tensor, Places]) -> None:
    frame = _apex(_clip(sitting, {5: 2.0, 1: 1.0, 2: 1.0}))
    (x, top), (_, bottom) = sitting[1]["upper_lid_left"], sitting[1]["lower_lid_left"]
    down = frame.displacement_px[round(top) - 2 : round(bottom) + 3, round(x), 1]
    assert float(down.max()) > 0.2 and float(down.diff().min()) > -1.0


def test_wild_landmarks_never_fold_the_face() -> None:
    draw = torch.Generator().manual_seed(5)
    for _ in range(5):
        wild = torch.rand(len(LANDMARKS), 2, generator=draw) * 100.0
        wild[:, 1] += landmark_places(mean_face())[0, :, 1] * 60.0
        head = fit_head(_named(wild, 14))
        q = torch.rand(2, 1, 40, 40, generator=draw) * 2.0 - 1.0
        back = head.to_head(*head.to_photo(q[0], q[1]))
        assert (torch.stack(back) - q).abs().max() < 2e-3


def test_a_turned_and_scaled_mean_face_is_recovered() -> None:
    mean = torch.complex(*landmark_places(mean_face())[0].unbind(1))
    photo = mean * complex(60.0, 12.0) + complex(70.0, 55.0)
    head = fit_head(_named(torch.stack([photo.real, photo.imag], 1)))
    assert head.turn == pytest.approx((60.0, 12.0), abs=1e-3) and head.shift == pytest.approx((70.0, 55.0), abs=1e-3)
    assert float(head.local.abs().max()) < 1e-4


def test_a_closer_look_mends_lids_and_lips() -> None:
    clip = lab_clip(HELD_OUT_SEEDS[3], action_units={}, size=256, fps=25, noisy=False, drift=0.0)
    true = _named(clip.landmarks_px[0])
    rough = {name: true[name] for name in LANDMARKS[:10]}
    for name, shift in {"upper_lid_left": 5.0, "upper_lid_right": -5.0, "upper_lip": 6.0, "lower_lip": 6.0}.items():
        rough[name] = (rough[name][0], rough[name][1] + shift)
    found = look_closer(clip.frames[0], rough)
    for places in (true, rough, found):
        places["chin"] = (0.0, 0.5 * (places["upper_lip"][1] + places["lower_lip"][1]))  # stands for the line between
    for name in ("upper_lid_left", "upper_lid_right", "chin"):
        assert abs(found[name][1] - true[name][1]) < 0.6 * abs(rough[name][1] - true[name][1]), name
    rough.pop("chin")
    for name in ("lower_lid_left", "lower_lid_right", "inner_eye_left", "outer_eye_right"):
        assert np.hypot(*np.subtract(found[name], true[name])) < 9.0, name
    kept = look_closer(clip.frames[0], rough, frozenset({"upper_lid_left", "upper_lip"}))
    assert kept["upper_lid_left"] == rough["upper_lid_left"] and kept["lower_lip"] == rough["lower_lip"]
    assert look_closer(torch.full((256, 256, 3), 128, dtype=torch.uint8), rough) == rough


def test_what_is_no_photo_or_no_face_is_refused(sitting: tuple[torch.Tensor, Places]) -> None:
    photo, places = sitting
    wrong: list[tuple[type[EamfmegError], torch.Tensor, Places]] = [
        (DtypeError, photo.float(), places), (ShapeError, photo[..., :2], places),
        (OptionError, photo[:40], places), (OptionError, photo, {"upper_lip": (3.0, 4.0)}),
        (OptionError, photo, {**places, "ear": (1.0, 1.0)}), (OptionError, photo, dict.fromkeys(places, (5.0, 5.0))),
    ]  # fmt: skip
    for error, picture, given in wrong:
        with pytest.raises(error):
            photo_clip(picture, given, {12: 1.0})
    with pytest.raises(OptionError):
        photo_clip(photo, places, {99: 1.0})


def test_training_never_reads_photographs(root: Path) -> None:
    rooms = [*(root / "eamfmeg_fast/train").glob("*.py"), root / "eamfmeg_fast/lab/pairs.py"]
    assert len(rooms) > 5 and not [path.name for path in rooms if "lab.photo" in path.read_text()]
