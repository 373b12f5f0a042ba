"""Frames in, pictures out: the next frame goes up and the last picture comes down while the device computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.network import Keypoints

if TYPE_CHECKING:
    from eamfmeg_fast.engine.cuda.backend import CudaBackend


@dataclass
class _Slot:
    """Memory of one frame on its way, and the points that it has passed."""

    host_in: Tensor
    device_in: Tensor
    device_out: tuple[Tensor, ...] = ()
    host_out: tuple[Tensor, ...] = ()
    downloaded: Any = None
    decoder: int = 0


class Pipeline:
    """Drives the targets of one state; see `engine.streaming.Pipe`.

    Args:
        initial: of one driving frame; None: driving keypoints are taken as they are.
        factor: of keypoint displacements, `[1]` or one for each target.
        batch: frames of one `submit`. depth: how many may be on their way.
    """

    def __init__(
        self,
        backend: CudaBackend,
        state: TargetState,
        initial: Keypoints | None,
        factor: Tensor,
        batch: int,
        depth: int,
    ) -> None:
        self._backend, self._shell = backend, backend.shell
        self._state, self._initial, self._factor = state, initial, factor
        size, device = backend.config.size, backend.device
        self._slots = []
        for _ in range(depth):
            memory = torch.zeros(batch, size, size, 3, dtype=torch.uint8, device=device)
            self._slots.append(_Slot(self._shell.pinned(memory), memory))
        self._sent = self._got = 0
        self._begin = self._shell.mark()

    def submit(self, frames: Tensor) -> None:
        """Send uint8 `[B, H, W, 3]` on its way; at most `depth` more often than `collect`."""
        shell, slot = self._shell, self._slots[self._sent % len(self._slots)]
        # Whoever collected what was here before has waited for all that was done with it.
        slot.host_in.copy_(frames)
        with shell.on("up"):
            # The slot's memory was made in another stream.
            shell.wait(self._begin)
            slot.device_in.copy_(slot.host_in, non_blocking=True)
            uploaded = shell.mark()
        with shell.enter():
            shell.wait(uploaded)
            results = self._run(slot)
            if not slot.host_out:
                slot.device_out = tuple(torch.empty_like(x) for x in results)
                slot.host_out = tuple(shell.pinned(x) for x in results)
            for kept, result in zip(slot.device_out, results):
                kept.copy_(result)
            done = shell.mark()
        with shell.on("down"):
            shell.wait(done)
            for kept, result in zip(slot.host_out, slot.device_out):
                kept.copy_(result, non_blocking=True)
            slot.downloaded = shell.mark()
        self._sent += 1

    def collect(self) -> Tensor:
        """The pictures of the oldest frames that were sent and not collected, the caller's own."""
        slot = self._slots[self._got % len(self._slots)]
        self._shell.synchronize(slot.downloaded)
        images, flag = slot.host_out
        if self._backend.too_narrow(flag, slot.decoder):
            with self._shell.enter():
                results = self._run(slot)
                images, flag = (x.cpu() for x in results)
        self._got += 1
        return images.clone()

    def close(self) -> None:
        """Wait for what is on its way; it is lost."""
        for slot in self._slots:
            if slot.downloaded is not None:
                self._shell.synchronize(slot.downloaded)

    def _run(self, slot: _Slot) -> tuple[Tensor, ...]:
        slot.decoder = self._backend.decoder
        program = self._backend.frame_program(self._state, self._initial, self._factor, slot.device_in)
        program.load("frames", None, {"frames": slot.device_in})
        images, _, _, flag, *_ = program.run()
        return images, flag
