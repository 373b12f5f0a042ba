"""The engine: prepare a target once, then one step per driving frame. Knows no files and no cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from eamfmeg_fast.engine.backends import Backend, Plan, choose_backend
from eamfmeg_fast.engine.building import build
from eamfmeg_fast.engine.checking import as_batch, check_keypoints, check_state
from eamfmeg_fast.engine.parameters import NetworkParameters, Parameters
from eamfmeg_fast.engine.reference import ReferenceBackend
from eamfmeg_fast.engine.reuse import Reusing
from eamfmeg_fast.engine.state import FrameResult, TargetState, placed, stacked
from eamfmeg_fast.engine.streaming import Pipe, PlainPipe, factor_of, pump
from eamfmeg_fast.engine.tracing import trace
from eamfmeg_fast.errors import OptionError, ShapeError
from eamfmeg_fast.network import Keypoints, Network, move
from eamfmeg_fast.network.relative import hull_scale

MOTIONS = ("relative", "absolute")
Picture = np.ndarray[Any, Any]
P = ParamSpec("P")
R = TypeVar("R")


def _exact(method: Callable[Concatenate[Engine, P], R]) -> Callable[Concatenate[Engine, P], R]:
    """One thread at a time, without gradients and without TF32: its ten bits would move keypoints by more than the
    signal."""

    @wraps(method)
    def wrapped(self: Engine, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock, torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return method(self, *args, **kwargs)

    return wrapped


class Engine:
    """Runs one network on one device. Its methods may be called from several threads; they take turns.

    Args:
        network: with its weights, or a place to read them from one by one (`Parameters`), which needs less memory. A
            network that is changed later has no effect on what was packed.
        device: "auto", "cpu" or "cuda".
        precision: of the decoder: "auto", "fp32", "bf16", "int8" (CPU), "fp16" (CUDA) or "fp64" (everything).
            Keypoints, Jacobians and flow are never computed in less than float32. "int8" needs activation scales
            (`eamfmeg calibrate`) and is never chosen by itself: it is less exact, and slower than bf16 where AVX-512
            multiplies that.
        backend: "auto", "cpu", "cuda" or "reference".
        update: "dense" computes every frame; "exact" answers from memory when its input is bit for bit the last one;
            "sparse" (backend "cpu") also decodes again only the tiles of features that changed by more than
            `engine.cpu.sparse.Tolerance` says; several frames at once are decoded densely. A GPU always computes.

    Raises:
        OptionError: no such precision or backend, or "int8" without scales. BackendError: it cannot run here.
    """

    def __init__(
        self,
        network: Network | Parameters,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        update: str = "exact",
    ) -> None:
        plan = choose_backend(backend, device, precision, update)
        self._parameters = NetworkParameters(network) if isinstance(network, Network) else network
        self.config = self._parameters.config
        self._lock = threading.RLock()
        self._scale: tuple[Keypoints, Keypoints, Tensor] | None = None
        self._built, self._plan = build(self._parameters, plan)
        self._backend: Backend = Reusing(self._built) if self._plan.update != "dense" else self._built

    @property
    def plan(self) -> Plan:
        """What runs; a backend that had to change its mind says so here."""
        return getattr(self._built, "plan", self._plan)

    @cached_property
    def network(self) -> Network:
        """The reference network of these weights, on the plan's device and in its type; read when first asked for."""
        return self._oracle.network

    def prepare(self, target: Picture) -> TargetState:
        """All that depends on the target alone; `target` is uint8 `[H, W, 3]` RGB of the network's size."""
        return self.prepare_many([target])

    @_exact
    def prepare_many(self, targets: Sequence[Picture]) -> TargetState:
        """Several targets in one state, for `step_many`."""
        if not targets:
            raise ShapeError("no targets", "at least one")
        return stacked([self._backend.prepare(as_batch([target], self.config.size)) for target in targets])

    def detect(self, frame: Picture) -> Keypoints:
        """Keypoints and Jacobians of a frame, uint8 `[H, W, 3]` RGB of the network's size."""
        return self.detect_many([frame])

    @_exact
    def detect_many(self, frames: Sequence[Picture]) -> Keypoints:
        """The same of B frames at once, `[B, K, 2]` and `[B, K, 2, 2]`."""
        if not frames:
            raise ShapeError("no frames", "at least one")
        return self._backend.detect(as_batch(frames, self.config.size))

    def step(
        self,
        state: TargetState,
        initial: Keypoints,
        driving: Keypoints,
        *,
        motion: str = "relative",
        gain: float | None = None,
    ) -> FrameResult:
        """Draw the target of `state` moved as `driving` moved since `initial`.

        Args:
            motion: "relative", or "absolute" (the driving keypoints as they are; `initial` is not used).
            gain: of keypoint displacements; None is the preset's.
        """
        return self.step_many(state, initial, driving, motion=motion, gain=gain)[0]

    @_exact
    def step_many(
        self,
        state: TargetState,
        initial: Keypoints,
        driving: Keypoints,
        *,
        motion: str = "relative",
        gain: float | None = None,
    ) -> list[FrameResult]:
        """Several frames at once: many targets under one driver, one target for many driving frames, or pairs.

        Args:
            state: of one target or B; initial, driving: of one frame or B. Wherever there is one, it serves for all.

        Raises:
            ShapeError: numbers of targets and frames that do not fit together, or something of another network.
            InputError: a target that was prepared on another device or by another backend.
        """
        self._check(state, initial, driving)
        counts = {state.keypoints.kp.shape[0], initial.kp.shape[0], driving.kp.shape[0]}
        if len(counts - {1}) > 1:
            given = f"{state.keypoints.kp.shape[0]} targets, {initial.kp.shape[0]} and {driving.kp.shape[0]} frames"
            raise ShapeError(given, "one number, or one of a kind for all")
        moved = self.moved(state.keypoints, initial, driving, motion=motion, gain=gain)
        count = max(counts)
        moved = Keypoints(*(x.expand(count, *x.shape[1:]) for x in moved))
        drawn = self._backend.draw(state, moved)
        images = drawn.images.cpu().numpy()
        return [
            FrameResult(
                images[i],
                Keypoints(moved.kp[i : i + 1], moved.jacobian[i : i + 1]),
                drawn.flow[i : i + 1],
                drawn.occlusion[i : i + 1],
                drawn.active,
            )
            for i in range(count)
        ]

    def stream(
        self,
        state: TargetState,
        initial: Keypoints,
        frames: Iterable[Picture],
        *,
        motion: str = "relative",
        gain: float | None = None,
        batch: int = 1,
        ahead: int = 1,
    ) -> Iterator[Picture]:
        """The pictures of `detect` and `step` for frame after frame, faster where a backend can overlap them.

        Args:
            state: of one target, or of several with `batch` 1: each frame then gives `[N, H, W, 3]`.
            batch: frames that are computed together.
            ahead: batches that are begun before the first one's pictures are waited for; 0: the least delay.

        Raises:
            OptionError: no such motion, or numbers that mean nothing. ShapeError: several targets with several frames
                at once, or something of another network. InputError: a target of another device or backend.
        """
        self._check(state, initial)
        targets = state.keypoints.kp.shape[0]
        if batch < 1 or ahead < 0:
            raise OptionError(f"batch={batch} and ahead={ahead}", "at least 1 and at least 0")
        if initial.kp.shape[0] != 1:
            raise ShapeError(f"{initial.kp.shape[0]} initial frames", "one for the whole stream")
        if motion not in MOTIONS:
            raise OptionError(f"motion {motion!r}", " or ".join(MOTIONS), "Check the spelling.")
        if targets > 1 and batch > 1:
            raise ShapeError(f"{targets} targets and {batch} frames at once", "one of the two")

        def stack(images: list[Picture]) -> Tensor:
            return as_batch(images, self.config.size)

        def make() -> Pipe:
            return self._pipe(state, initial, motion, gain, batch, ahead + 1)

        return pump(make, frames, stack, self._locked, batch=batch, ahead=ahead, targets=targets)

    @_exact
    def _locked(self, call: Callable[[], R]) -> R:
        return call()

    def _pipe(
        self, state: TargetState, initial: Keypoints, motion: str, gain: float | None, batch: int, depth: int
    ) -> Pipe:
        make = getattr(self._built, "pipe", None)
        if make is not None:
            scale = self._hull_scale(state.keypoints, initial) if self.config.adapt_scale else None
            factor = factor_of(self.config.gain if gain is None else gain, scale, state.keypoints.kp)
            pipe: Pipe = make(state, initial if motion == "relative" else None, factor, batch, depth)
            return pipe

        def draw(frames: Tensor) -> Tensor:
            driving = self._backend.detect(frames)
            moved = self.moved(state.keypoints, initial, driving, motion=motion, gain=gain)
            count = max(frames.shape[0], state.keypoints.kp.shape[0])
            return self._backend.draw(state, Keypoints(*(x.expand(count, *x.shape[1:]) for x in moved))).images

        return PlainPipe(draw)

    def moved(
        self, target: Keypoints, initial: Keypoints, driving: Keypoints, *, motion: str, gain: float | None
    ) -> Keypoints:
        """The target's keypoints for one driving frame.

        Raises:
            OptionError: no such motion.
        """
        if motion not in MOTIONS:
            raise OptionError(f"motion {motion!r}", " or ".join(MOTIONS), "Check the spelling.")
        driving = placed(driving, target.kp)
        if motion == "absolute":
            return driving
        gain = self.config.gain if gain is None else gain
        scale = self._hull_scale(target, initial) if self.config.adapt_scale else None
        initial = placed(initial, target.kp)
        fused = getattr(self._built, "moved", None)
        if fused is not None:
            found: Keypoints = fused(target, initial, driving, factor_of(gain, scale, target.kp))
            return found
        return move(target, initial, driving, gain=gain, scale=scale)

    @_exact
    def trace(
        self,
        target: Picture,
        initial: Picture,
        driving: Picture,
        *,
        motion: str = "relative",
        gain: float | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Every intermediate of one frame by the reference network; a stage that the preset lacks is absent.

        Convention:
            `flow` is the absolute sampling grid; `features_warped` is after the occlusion.
        """
        oracle = self._oracle
        state, start = (
            oracle.prepare(as_batch([target], self.config.size)),
            oracle.detect(as_batch([initial], self.config.size)),
        )
        found = oracle.look(as_batch([driving], self.config.size))
        moved = self.moved(state.keypoints, start, found.keypoints, motion=motion, gain=gain)
        return trace(oracle, state, start, found, moved)

    @cached_property
    def _oracle(self) -> ReferenceBackend:
        if isinstance(self._built, ReferenceBackend):
            return self._built
        return ReferenceBackend(self._parameters.network(), self.plan.device, self.plan.dtype)

    def _hull_scale(self, target: Keypoints, initial: Keypoints) -> Tensor:
        """Kept from frame to frame: it depends on what does not change within a clip."""
        known = self._scale
        if known is None or known[0] is not target or known[1] is not initial:
            known = self._scale = target, initial, hull_scale(target.kp, initial.kp)
        return known[2]

    def _check(self, state: TargetState, *points: Keypoints) -> None:
        check_state(state, self.config, self.plan)
        for each in points:
            check_keypoints(each, self.config)
