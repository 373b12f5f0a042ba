"""The public class: a target face, a driving clip, and the retargeted frames."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eamfmeg_fast.config import DEFAULT_WEIGHTS, NetworkConfig
from eamfmeg_fast.driving import Driving, DrivingOptions, MotionDriving, Shot, open_driving
from eamfmeg_fast.engine import Engine, TargetState, use_threads
from eamfmeg_fast.errors import InputError, OptionError
from eamfmeg_fast.faces import Crop, FaceFinder, Picture, check_picture, cut, find_crop
from eamfmeg_fast.network import Keypoints, Network
from eamfmeg_fast.provenance import sha256_of
from eamfmeg_fast.retargeter.clip import Clip
from eamfmeg_fast.retargeter.given import PictureLike, adjusted, gain_of, motion_of, picture_of
from eamfmeg_fast.retargeter.report import RetargetedFrame, Target
from eamfmeg_fast.weights import StoredWeights, WeightsInfo
from eamfmeg_fast.weights.shapes import is_regenerated
from eamfmeg_fast.weights.writer import ContentDigest, on_disk

_ZERO = Fraction(0)


class Retargeter:
    """Repeats the micro-expression of a driving clip on a target face.

    Args:
        network: with its weights, or a weights file to read them from; `from_pretrained` opens one.
        info: where the weights come from, for the synthetic mark.
        device: "auto", "cpu" or "cuda". precision, backend, update: as `engine.Engine`.
        threads, pin: for PyTorch's pool, which the whole process shares, as `engine.use_threads`.
        motion: "relative" (what moved since the reference frame) or "absolute" (the driving keypoints as they are).
        gain: of keypoint displacements in relative motion, 0 to 100; None is the preset's.
        still_px: displacements of up to so many pixels (at 256 px) become none, 0: never. relative_occlusion: whether
            the picture counts visibility in parts of what it is at rest. None: the preset's; both as
            `config.NetworkConfig`.

    Raises:
        OptionError: a value that means nothing. BackendError: it cannot run here.
    """

    def __init__(
        self,
        network: Network | StoredWeights,
        *,
        info: WeightsInfo | None = None,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        pin: bool = False,
        update: str = "exact",
        motion: str = "relative",
        gain: float | None = None,
        still_px: float | None = None,
        relative_occlusion: bool | None = None,
    ) -> None:
        use_threads(threads, pin)
        parameters = adjusted(network, still_px=still_px, relative_occlusion=relative_occlusion)
        self.config: NetworkConfig = parameters.config
        self.info = info
        self.motion, self.gain = motion_of(motion), gain_of(gain)
        self.engine = Engine(parameters, device=device, precision=precision, backend=backend, update=update)
        self._target: Target | None = None
        self._reference: tuple[Keypoints, Crop | None] | None = None
        self._finder = FaceFinder()

    @classmethod
    def from_pretrained(cls, name: str | Path = DEFAULT_WEIGHTS, **options: Any) -> Retargeter:
        """A retargeter with the weights of a name or file.

        Args:
            name: shipped weights, or a `.safetensors` file (`eamfmeg convert` makes one of a published checkpoint).
            options: device, precision, backend, threads, pin, update, motion, gain, still_px, relative_occlusion: as
                the class.

        Raises:
            WeightsError: no such weights, or damaged ones. OptionError, BackendError: as the class.
        """
        weights = StoredWeights(name)
        return cls(weights, info=weights.info, **options)

    @property
    def weights_path(self) -> Path | None:
        """The weights file, if they came from one."""
        return None if self.info is None else self.info.path

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights file, or of the tensors where there is no file."""
        return self.content_sha256 if self.info is None else self.info.sha256

    @cached_property
    def content_sha256(self) -> str:
        """Hash of the tensors, by which motion files know the detector that made them."""
        if self.info is not None:
            return self.info.content_sha256
        digest, state = ContentDigest(), self.engine.network.state_dict()
        for name in sorted(name for name in state if not is_regenerated(name)):
            digest.update(name, on_disk(name, state[name], torch.float32))
        return digest.hexdigest()

    def open_target(self, target: PictureLike, crop: Any = None) -> Target:
        """A target face, cropped and prepared; see `prepare` for the arguments."""
        path = Path(target) if isinstance(target, (str, os.PathLike)) else None
        name = "the target picture" if path is None else str(path)
        image = picture_of(target)
        box = self._box(image, crop, name)
        picture = cut(image, box, self.config.size)
        return Target(self.engine.prepare(picture), picture, box, name, "" if path is None else sha256_of(path), path)

    def prepare(self, target: PictureLike, crop: Any = None) -> TargetState:
        """All that depends on the target alone, to be handed to `stream`.

        Args:
            target: path of a picture, PIL image or uint8 `[H, W, 3]` RGB.
            crop: "auto" (around the face), "none" (the largest square in the middle) or a box (x, y, width, height);
                None: "auto", unless the picture already has the network's size.

        Raises:
            MediaError, FaceError, OptionError, ShapeError, DtypeError: it cannot be used.
        """
        return self.open_target(target, crop).state

    def set_target(self, target: PictureLike | Target, crop: Any = None) -> None:
        """Choose the face that `stream` and `drive` draw; arguments and errors as `prepare`."""
        self._target = target if isinstance(target, Target) else self.open_target(target, crop)

    def set_reference(self, frame: PictureLike | None, crop: Any = None) -> None:
        """Choose the neutral driving frame that motion is measured from; None goes back to the first of each clip.

        Clips streamed later without a crop of their own are cut like this frame, so that the two match.
        """
        if frame is None:
            self._reference = None
            return
        image = picture_of(frame)
        box = self._box(image, crop, "the reference frame")
        ready = image.shape[:2] == (self.config.size, self.config.size)
        self._reference = self.engine.detect(cut(image, box, self.config.size)), None if ready else box

    def drive(self, frame: Picture) -> RetargetedFrame:
        """One frame in, one frame out, for live use: the first one becomes the reference if none is set.

        Args:
            frame: uint8 `[S, S, 3]` RGB, the driving face, cropped.

        Raises:
            InputError: no target is set. ShapeError, DtypeError: not such a frame.
        """
        target = self._wanted()
        if self._reference is None:
            # Not `set_reference`, which would crop a frame of another size and keep that although it is refused below.
            self._reference = self.engine.detect(check_picture(frame)), None
        initial = self._reference[0]
        return self.draw(target, initial, Shot(0, _ZERO, frame), self.motion, self._resolved(None))

    def stream(self, driving: Any, **options: Any) -> Iterator[RetargetedFrame]:
        """The target set, frame by frame, in constant memory; errors about the clip's beginning come at once.

        A frame is drawn before the next one is read. With smoothing "centred", 0.4 s of frames (512 at most) are read
        before the first is drawn, and a live picture is late by so much; "causal" reads none ahead.

        Args:
            driving: path of a clip or motion file, or frames uint8 `[H, W, 3]` (a list, generator or camera).
            options: crop, start, end, on_lost, reference_frame, smoothing, fps as `DrivingOptions`; motion and gain as
                the class; target: of `open_target`, instead of the one set.

        Raises:
            InputError: no target is set, or the clip cannot be used.
        """
        crop = options.pop("crop", None)
        return iter(self(options.pop("target", None), driving, crop_driving=crop, **options))

    def __call__(
        self,
        target: PictureLike | Target | None,
        driving: Any,
        *,
        motion: str | None = None,
        gain: float | None = None,
        crop: Any = None,
        crop_driving: Any = None,
        **options: Any,
    ) -> Clip:
        """The clip of `driving` repeated on `target`, drawn while it is read or saved.

        Args:
            target: as `prepare`, or None for the one set.
            driving: as `stream`.
            motion, gain: None: as the class was told.
            crop: of the target, as `prepare`. crop_driving: of the clip; None: as `crop` when that is a word.
            options: start, end, on_lost, reference_frame, smoothing, fps: as `DrivingOptions`.

        Raises:
            InputError: something cannot be used; each kind says what.
        """
        if crop_driving is None:
            crop_driving = crop if crop in ("auto", "none") else None
        if crop_driving is None and self._reference is not None:
            crop_driving = self._reference[1]
        try:
            wanted = DrivingOptions(crop=crop_driving, **options)
        except TypeError as error:
            raise OptionError(f"an option that is not known ({error})") from error
        motion, gain = self.motion if motion is None else motion_of(motion), self._resolved(gain)
        if not isinstance(target, Target):
            target = self._wanted() if target is None else self.open_target(target, crop)
        clip = open_driving(driving, wanted, self.config.size, self._finder)
        self._check_origin(clip)
        reference = None if self._reference is None else self._reference[0]
        return Clip(self, target, clip, wanted, motion, gain, reference)

    def reference(
        self,
        target: Picture,
        initial: Picture,
        driving: Picture,
        motion: str = "relative",
        gain: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Every intermediate of one frame, for parity checks: `engine.Engine.trace`."""
        return self.engine.trace(target, initial, driving, motion=motion_of(motion), gain=gain_of(gain))

    def look(self, shot: Shot) -> Keypoints:
        """The keypoints of a driving frame, which keeps them and the time that they took."""
        if shot.keypoints is None:
            begin = time.perf_counter()
            shot.keypoints = self.engine.detect(check_picture(shot.image))
            shot.timings["keypoints"] = (time.perf_counter() - begin) * 1e3
        return shot.keypoints

    def draw(
        self,
        target: Target,
        initial: Keypoints,
        shot: Shot,
        motion: str,
        gain: float,
        keypoints: Keypoints | None = None,
    ) -> RetargetedFrame:
        """One driving frame on the target, at `keypoints` or else at its own; the engine's step with its times."""
        own = self.look(shot)
        begin = time.perf_counter()
        drawn = self.engine.step(target.state, initial, keypoints or own, motion=motion, gain=gain)
        timings = shot.timings | {"draw": (time.perf_counter() - begin) * 1e3}
        return RetargetedFrame(drawn.image, shot.index, shot.time, timings, False, own, shot.image)

    def _box(self, image: Picture, crop: Any, name: str) -> Crop:
        if crop is None:
            crop = "none" if image.shape[:2] == (self.config.size, self.config.size) else "auto"
        return find_crop(image, crop, finder=self._finder, name=name)

    def _wanted(self) -> Target:
        if self._target is None:
            raise InputError("no target is set", "a face", "Call set_target first.")
        return self._target

    def _resolved(self, gain: float | None) -> float:
        chosen = self.gain if gain is None else gain_of(gain)
        return self.config.gain if chosen is None else chosen

    def _check_origin(self, driving: Driving) -> None:
        if not isinstance(driving, MotionDriving):
            return
        facts = driving.motion.facts
        if (facts.preset, facts.weights_sha256) != (self.config.preset, self.content_sha256):
            made = f"motion file {driving.name} was made with other weights (preset {facts.preset})"
            fix = "Load those weights, or save the motion again."
            raise InputError(made, f"the loaded weights of preset {self.config.preset}", fix)
