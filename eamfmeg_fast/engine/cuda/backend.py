"""One network on one CUDA device; on the CPU the same arithmetic, for tests."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from eamfmeg_fast.engine.backends import Plan
from eamfmeg_fast.engine.cuda.pipeline import Pipeline
from eamfmeg_fast.engine.cuda.program import Program, Programs
from eamfmeg_fast.engine.cuda.relative import moved_by
from eamfmeg_fast.engine.cuda.shell import CudaShell, HostShell, Shell, Step
from eamfmeg_fast.engine.cuda.steps import Steps
from eamfmeg_fast.engine.cuda.target import TargetMaps, maps_of
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import Drawn, TargetState
from eamfmeg_fast.errors import BackendWarning
from eamfmeg_fast.network import Keypoints

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CudaBackend:
    """Runs a network by programs that are captured once for each shape; see `engine.backends.Backend`.

    A decoder in float16 is watched: what outgrows the type raises a flag that comes down with the picture. The frame is
    then drawn again with a wider decoder, which also draws all that follow.

    Args:
        plan: its device may be the CPU; there is no graph then.
        shell: what the device is spoken to by; None: the one for the plan's device.

    Attributes:
        plan: as given, with what has become known since in its reason.
    """

    def __init__(self, parameters: Parameters, plan: Plan, shell: Shell | None = None) -> None:
        self.config, self._asked = parameters.config, plan
        on_gpu = plan.device.type == "cuda"
        self.shell: Shell = shell or (CudaShell(plan.device) if on_gpu else HostShell())
        types = [_TYPES[plan.decoder]]
        if plan.decoder == "fp16":
            wide = not on_gpu or torch.cuda.get_device_capability(plan.device) >= (8, 0)
            types.append(torch.bfloat16 if wide else torch.float32)
        with self.shell.exact():
            self.steps = Steps(parameters, plan.device, tuple(types))
        self._programs = Programs()
        self._decoder = 0
        if not self.steps.decoders[0].finite and len(types) > 1:
            self._widen("a weight outgrew it")
        if on_gpu:
            # What cannot run here has to fail now and not at the first frame.
            size = self.config.size
            blank = torch.arange(size * size * 3, device=plan.device).remainder(251).to(torch.uint8)
            self.prepare(blank.view(1, size, size, 3))

    @property
    def plan(self) -> Plan:
        """What runs, as far as it is known."""
        decoder = next(word for word, dtype in _TYPES.items() if dtype == self.dtype)
        reason = self._asked.reason
        if decoder != self._asked.decoder:
            reason += f", which was too narrow, so the decoder is in {decoder}"
        if self._asked.device.type == "cuda":
            why = self.shell.why_no_graphs
            reason += f"; without CUDA graphs, since {why}" if why else "; by CUDA graphs"
        return replace(self._asked, decoder=decoder, reason=reason)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._asked.device

    @property
    def dtype(self) -> torch.dtype:
        """What the decoder computes in."""
        return self.steps.decoders[self._decoder].dtype

    def prepare(self, pictures: Tensor) -> TargetState:
        """All that depends on the targets alone; uint8 `[B, H, W, 3]`.

        Each target is drawn once as it stands: that is when a type that is too narrow shows first.
        """
        with self.shell.enter(), self.shell.exact():
            on_device = pictures.to(self._asked.device)
            state = self.steps.prepare(on_device, self.dtype)
            if self._decoder + 1 < len(self.steps.decoders) and not _finite(state):
                self._widen("the target's features outgrew it")
            else:
                self.draw(state, state.keypoints)
            if state.features.dtype != self.dtype:
                state = self.steps.prepare(on_device, self.dtype)
        return state

    def detect(self, frames: Tensor) -> Keypoints:
        """Keypoints and Jacobians of uint8 `[B, H, W, 3]`."""
        with self.shell.enter():
            key = ("detect", frames.shape[0])
            program = self._programs.get(key, lambda: self._program(self.steps.detect, {"frames": frames}))
            program.load("frames", None, {"frames": frames})
            return Keypoints(*(x.clone() for x in program.run()))

    def moved(self, target: Keypoints, initial: Keypoints, driving: Keypoints, factor: Tensor) -> Keypoints:
        """As `network.move`, with factor the gain times the scale; all on the device."""
        batch = max(points.kp.shape[0] for points in (target, initial, driving))
        target, initial, driving = (
            Keypoints(*(x.contiguous() for x in points)) for points in (target, initial, driving)
        )
        return moved_by(target, initial, driving, factor, batch)[0]

    def draw(self, state: TargetState, moved: Keypoints) -> Drawn:
        """The targets of `state`, one or as many as `moved` has, at the moved keypoints; pictures on the host."""
        with self.shell.enter():
            decoder = self._decoder
            images, flag, flow, occlusion = self._drawn(state, moved)
            if self.too_narrow(flag, decoder):
                images, flag, flow, occlusion = self._drawn(state, moved)
            return Drawn(images, flow, occlusion[:, None])

    def _drawn(self, state: TargetState, moved: Keypoints) -> tuple[Tensor, ...]:
        maps, decoder = maps_of(state, self.config.skip), self._decoder

        def step(moved_kp: Tensor, moved_jacobian: Tensor, **target: Tensor) -> tuple[Tensor, ...]:
            return self.steps.draw(decoder, Keypoints(moved_kp, moved_jacobian), TargetMaps(**target))

        points = {"moved_kp": moved.kp, "moved_jacobian": moved.jacobian}
        shapes = self._typed(maps.named()) | points
        key = ("draw", decoder, moved.kp.shape[0], maps.target_kp.shape[0], *maps.named())
        program = self._programs.get(key, lambda: self._program(step, shapes))
        program.load("state", state, maps.named())
        program.load("moved", None, points)
        images, flow, occlusion, flag = program.run()
        flow, occlusion = flow.clone(), occlusion.clone()
        return *program.fetch((images, flag)), flow, occlusion

    def pipe(self, state: TargetState, initial: Keypoints | None, factor: Tensor, batch: int, depth: int) -> Pipeline:
        """For many driving frames; arguments as `Pipeline`."""
        return Pipeline(self, state, initial, factor, batch, depth)

    def frame_program(self, state: TargetState, initial: Keypoints | None, factor: Tensor, frames: Tensor) -> Program:
        """The whole step from `frames` to pictures, as `Steps.frame`, loaded with all but the frames."""
        maps, decoder = maps_of(state, self.config.skip), self._decoder

        def step(frames: Tensor, factor: Tensor, **rest: Tensor) -> tuple[Tensor, ...]:
            kp = rest.pop("initial_kp", None)
            start = None if kp is None else Keypoints(kp, rest.pop("initial_jacobian"))
            return self.steps.frame(decoder, frames, start, factor, TargetMaps(**rest))

        points = {} if initial is None else {"initial_kp": initial.kp, "initial_jacobian": initial.jacobian}
        shapes = self._typed(maps.named()) | points | {"frames": frames, "factor": factor}
        key = ("frame", decoder, *((name, x.shape) for name, x in shapes.items()))
        program = self._programs.get(key, lambda: self._program(step, shapes))
        program.load("state", state, maps.named())
        program.load("initial", initial, points)
        program.load("factor", factor, {"factor": factor})
        return program

    @property
    def decoder(self) -> int:
        """The number of the decoder that draws."""
        return self._decoder

    def too_narrow(self, flag: Tensor, decoder: int) -> bool:
        """Whether a frame that `decoder` drew is to be drawn again; a wider decoder is then in place.

        Args:
            flag: as it came down with the frame.
        """
        raised = bool(flag.item()) and decoder + 1 < len(self.steps.decoders)
        if raised and decoder == self._decoder:
            self._widen("an activation outgrew it")
        return raised

    def _widen(self, why: str) -> None:
        narrow = self.dtype
        self._decoder += 1
        words = f"the decoder goes on in {self.dtype}: {narrow} is too narrow for these weights ({why})"
        warnings.warn(words, BackendWarning, stacklevel=3)

    def _typed(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps in the decoder's type where they are the decoder's, whatever they were prepared in."""
        decoders = ("features", "query", "key", "value")
        return {name: x.to(self.dtype) if name in decoders else x for name, x in maps.items()}

    def _program(self, step: Step, shapes: dict[str, Tensor]) -> Program:
        placed = {name: x.to(self._asked.device) for name, x in shapes.items()}
        return Program(step, placed, self.shell, self._warm)

    def _warm(self, trying: bool) -> None:
        self.steps.tuner.stopwatch = self.shell.stopwatch() if trying else None


def _finite(state: TargetState) -> bool:
    """Whether the maps that are in the decoder's type hold numbers only."""
    maps = (state.features, *(state.projections or ()))
    return all(bool(torch.isfinite(x).all()) for x in maps if x is not None)
