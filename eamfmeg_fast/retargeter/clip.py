"""The lazily drawn clip, and what it leaves on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from eamfmeg_fast.driving import Driving, DrivingOptions, OneEuro, Shot, smoothed
from eamfmeg_fast.errors import MediaError, OptionError
from eamfmeg_fast.faces import Picture
from eamfmeg_fast.media import ClipWriter, open_writer
from eamfmeg_fast.media.safe_file import refuse_inputs, shown
from eamfmeg_fast.motion_file import MotionFacts, MotionRow, MotionWriter
from eamfmeg_fast.network import Keypoints
from eamfmeg_fast.provenance import Mark, manifest_path, write_manifest
from eamfmeg_fast.retargeter.report import Report, RetargetedFrame, Target, frames_in_words

if TYPE_CHECKING:
    from eamfmeg_fast.retargeter.core import Retargeter

_ONE_EURO = {f"smoothing_{name}": value for name, value in asdict(OneEuro()).items()}


@dataclass
class Clip:
    """A clip that is drawn while it is read: iterate over it, or save it; nothing is kept in memory.

    Made by calling a `Retargeter`. Every iteration draws anew (of frames handed over as an iterator: once).

    Attributes:
        target, driving, options: what it is made of. motion, gain: how.
        report: on the latest pass; None before the first.
    """

    retargeter: Retargeter
    target: Target
    driving: Driving
    options: DrivingOptions
    motion: str
    gain: float
    reference: Keypoints | None = None
    report: Report | None = None
    _initial: tuple[Keypoints, range | None] | None = field(default=None, init=False, repr=False)

    def __iter__(self) -> Iterator[RetargetedFrame]:
        report = self.report = Report(self.target.name, self.driving.name, fps=str(self.driving.fps))
        begin = perf_counter()
        initial, neutral = self._initial = self.initial()
        report.reference_frame = frames_in_words(neutral)
        held: RetargetedFrame | None = None
        for shot, keypoints in self._shots():
            if shot.lost and held is not None:
                report.lose(shot.index)
                if self.options.on_lost == "stop":
                    report.stopped_at = shot.index
                    break
                if self.options.on_lost == "skip":
                    continue
                seen = shot.image
                frame = RetargetedFrame(held.image, shot.index, shot.time, shot.timings, True, held.keypoints, seen)
            else:
                frame = held = self.retargeter.draw(self.target, initial, shot, self.motion, self.gain, keypoints)
            report.options = report.options or self.describe(report.reference_frame)
            report.count(frame)
            report.seconds = perf_counter() - begin
            yield frame

    def _shots(self) -> Iterator[tuple[Shot, Keypoints | None]]:
        """Driving frames with the keypoints to draw; None: their own."""
        shots = self.driving.shots()
        if self.options.smoothing == "none":
            return ((shot, None) for shot in shots)
        return smoothed(shots, self.retargeter.look, self.options.smoothing, self.fps)

    @property
    def fps(self) -> Fraction:
        """Frames per second of the driving clip."""
        return self.driving.fps

    def initial(self) -> tuple[Keypoints, range | None]:
        """Keypoints of the neutral driving face, and the frames that they are the mean of (None: set by hand)."""
        if self.reference is not None:
            return self.reference, None
        return self.driving.initial(self.retargeter.engine.detect, self.target.state.keypoints)

    def describe(self, reference_frame: int | str | None) -> dict[str, Any]:
        """Everything that makes the pictures what they are, as plain values."""
        plan = self.retargeter.engine.plan
        facts = {
            "backend": plan.backend,
            "decoder": plan.decoder,
            "update": plan.update,
            "motion": self.motion,
            "gain": self.gain,
            "preset": self.retargeter.config.preset,
            "crop_target": str(self.target.crop),
            "crop_driving": None if self.driving.crop is None else str(self.driving.crop),
            "start": self.options.start,
            "end": self.options.end,
            "smoothing": self.options.smoothing,
            **({} if self.options.smoothing == "none" else _ONE_EURO),
            "still_px": self.retargeter.config.still_px,
            "relative_occlusion": self.retargeter.config.counts_from_rest,
            "reference_frame": "set by hand" if reference_frame is None else reference_frame,
            "on_lost": self.options.on_lost,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        lossless: bool = False,
        crf: int = 12,
        overwrite: bool = False,
        side_by_side: bool = False,
        save_motion: str | os.PathLike[str] | None = None,
        on_frame: Callable[[RetargetedFrame], None] | None = None,
    ) -> Report:
        """Draw the clip into a file or folder, frame by frame, with its synthetic mark and a manifest beside it.

        Times and rate are the driving clip's, its sound goes into an mp4. Nothing is ever half-written.

        Args:
            path: ends in .mp4 or .gif, or names a folder for PNGs.
            lossless, crf: of mp4, as `media.open_writer`.
            overwrite: replace what is there.
            side_by_side: target, driving frame and result beside each other.
            save_motion: also write the keypoints as a motion file, ends in .safetensors.
            on_frame: called after every frame.

        Raises:
            MediaError, OptionError, FaceError: a damaged input, no face, or no place for the output.
        """
        self._check_place(Path(path), overwrite, save_motion)
        frames = iter(self)
        first = next(frames, None)
        if first is None or self.report is None:
            raise MediaError(f"{self.driving.name} holds no frame", "at least one")
        report = self.report
        mark = self._mark(report, side_by_side)
        with ExitStack() as stack:
            writer = self._writer(path, first, mark, side_by_side, lossless=lossless, crf=crf, overwrite=overwrite)
            stack.callback(writer.discard)  # an interruption before it is entered leaves nothing, either
            stack.enter_context(writer)
            motion = None if save_motion is None else self._motion_writer(save_motion, mark, report)
            if motion is not None:
                stack.callback(motion.discard)
                stack.enter_context(motion)
            self._pump(first, frames, writer, motion, on_frame, side_by_side)
        report.output, report.motion_file = str(path), None if save_motion is None else str(save_motion)
        report.manifest = str(manifest_path(path))
        write_manifest(path, mark, report.to_dict())
        return report

    def _mark(self, report: Report, side_by_side: bool) -> Mark:
        report.options |= {"side_by_side": True} if side_by_side else {}
        return Mark(self.target.sha256, self.driving.sha256(), self.retargeter.weights_sha256, report.options)

    def _pump(
        self,
        first: RetargetedFrame,
        rest: Iterator[RetargetedFrame],
        writer: ClipWriter,
        motion: MotionWriter | None,
        on_frame: Callable[[RetargetedFrame], None] | None,
        side_by_side: bool,
    ) -> None:
        frame: RetargetedFrame | None = first
        while frame is not None:
            writer.write(self._beside(frame) if side_by_side else frame.image, frame.time)
            if motion is not None:
                kp, jacobian = (part[0].float().cpu().numpy() for part in frame.keypoints)
                motion.write(MotionRow(frame.index, frame.time, kp, jacobian))
            if on_frame is not None:
                on_frame(frame)
            frame = next(rest, None)

    def _beside(self, frame: RetargetedFrame) -> Picture:
        panels = [self.target.picture, frame.driving, frame.image]
        return np.hstack([panel for panel in panels if panel is not None])

    def _writer(
        self, path: str | os.PathLike[str], first: RetargetedFrame, mark: Mark, side_by_side: bool, **options: Any
    ) -> ClipWriter:
        height, width = (self._beside(first) if side_by_side else first.image).shape[:2]
        sound = self.driving.path if self.driving.has_pictures and Path(path).suffix.lower() == ".mp4" else None
        return open_writer(
            path,
            fps=self.fps,
            size=(width, height),
            mark=mark,
            audio_from=sound,
            origin=self.driving.origin + first.index,
            inputs=self._inputs(),
            **options,
        )

    def _motion_writer(self, path: str | os.PathLike[str], mark: Mark, report: Report) -> MotionWriter:
        found = self._initial or self.initial()
        initial = tuple(part[0].float().cpu().numpy() for part in found[0])
        facts = MotionFacts(
            self.retargeter.config.preset,
            self.retargeter.content_sha256,
            self.fps,
            mark.driving_sha256,
            self.driving.origin,
            0 if found[1] is None else found[1].start,
            1 if found[1] is None else len(found[1]),
        )
        return MotionWriter(Path(path), facts, (initial[0], initial[1]))

    def _inputs(self) -> list[Path]:
        given = (self.target.path, self.driving.path, self.retargeter.weights_path)
        return [path for path in given if path is not None]

    def _check_place(self, path: Path, overwrite: bool, save_motion: str | os.PathLike[str] | None) -> None:
        """Refuse before any work what would be refused after it."""
        others = [] if save_motion is None else [Path(save_motion)]
        for place in others:
            refuse_inputs(place, [*self._inputs(), path])
        taken = [place for place in [path, manifest_path(path), *others] if place.is_file()]
        if taken and not overwrite:
            raise OptionError(f"{shown(taken[0])} exists", "a new name", "Allow overwriting or choose another name.")
