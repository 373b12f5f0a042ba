"""The thin layer that knows CUDA: streams, pinned memory, graphs. `HostShell` does the same work without any of it."""

from __future__ import annotations

import contextlib
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from eamfmeg_fast.errors import BackendWarning

Step = Callable[..., tuple[Tensor, ...]]
Run = Callable[[], tuple[Tensor, ...]]

_WARM_UPS = 3
_TIMED = 10


class Shell(Protocol):
    """Where work goes. Streams are "up", "work" and "down"; a mark is a point in one of them."""

    why_no_graphs: str

    def on(self, stream: str) -> contextlib.AbstractContextManager[None]:
        """What is begun inside goes to that stream."""

    def enter(self) -> contextlib.AbstractContextManager[None]:
        """As `on("work")`, behind the caller's own stream, which goes on behind it."""

    def mark(self) -> Any:
        """The point that the stream of the moment has come to."""

    def wait(self, mark: Any) -> None:
        """What is begun from now on in the stream of the moment comes behind `mark`."""

    def synchronize(self, mark: Any) -> None:
        """Come back when the device has passed `mark`."""

    def pinned(self, like: Tensor) -> Tensor:
        """Memory of the host of that shape and type, which the device copies from and to by itself."""

    def exact(self) -> contextlib.AbstractContextManager[None]:
        """No TF32."""

    def stopwatch(self) -> Callable[[Callable[[], Tensor]], float] | None:
        """Times a call; None where there is nothing to be chosen."""

    def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
        """`step(**inputs)` to be run often, on whatever the inputs then hold.

        Args:
            warm: told True before runs in which ways may be tried, False after them.
        """


class HostShell:
    """Everything at once, in the order of the calls."""

    why_no_graphs = "this is no CUDA device"

    def on(self, stream: str) -> contextlib.AbstractContextManager[None]:
        """See `Shell`."""
        return contextlib.nullcontext()

    def enter(self) -> contextlib.AbstractContextManager[None]:
        """See `Shell`."""
        return contextlib.nullcontext()

    def mark(self) -> Any:
        """See `Shell`."""
        return None

    def wait(self, mark: Any) -> None:
        """See `Shell`."""

    def synchronize(self, mark: Any) -> None:
        """See `Shell`."""

    def pinned(self, like: Tensor) -> Tensor:
        """See `Shell`."""
        return torch.empty_like(like, device="cpu", memory_format=torch.contiguous_format)

    def exact(self) -> contextlib.AbstractContextManager[None]:
        """See `Shell`."""
        return contextlib.nullcontext()

    def stopwatch(self) -> Callable[[Callable[[], Tensor]], float] | None:
        """See `Shell`."""
        return None

    def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
        """See `Shell`."""
        return lambda: step(**inputs)


class CudaShell:
    """One CUDA device.

    Attributes:
        why_no_graphs: one clause; empty while graphs work.
    """

    def __init__(self, device: torch.device, graphs: bool = True) -> None:
        self.device = device
        self.why_no_graphs = "" if graphs else "they were not asked for"
        self._streams = {name: torch.cuda.Stream(device) for name in ("up", "work", "down")}

    def on(self, stream: str) -> contextlib.AbstractContextManager[None]:
        """See `Shell`."""
        return torch.cuda.stream(self._streams[stream])

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """See `Shell`."""
        outer, work = torch.cuda.current_stream(self.device), self._streams["work"]
        work.wait_stream(outer)
        with torch.cuda.stream(work):
            yield
        outer.wait_stream(work)

    def mark(self) -> Any:
        """See `Shell`."""
        event = torch.cuda.Event()
        event.record()
        return event

    def wait(self, mark: Any) -> None:
        """See `Shell`."""
        if mark is not None:
            torch.cuda.current_stream(self.device).wait_event(mark)

    def synchronize(self, mark: Any) -> None:
        """See `Shell`."""
        mark.synchronize()

    def pinned(self, like: Tensor) -> Tensor:
        """See `Shell`."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=torch.cuda.is_available())

    @contextlib.contextmanager
    def exact(self, benchmark: bool = False) -> Iterator[None]:
        """Two switches say the same: the older one by `flags`, the newer one beside it."""
        with torch.backends.cudnn.flags(enabled=True, benchmark=benchmark, allow_tf32=False):
            conv = getattr(torch.backends.cudnn, "conv", None)
            before = getattr(conv, "fp32_precision", None)
            if conv is not None and before is not None:
                conv.fp32_precision = "ieee"
            try:
                yield
            finally:
                if conv is not None and before is not None:
                    conv.fp32_precision = before

    def stopwatch(self) -> Callable[[Callable[[], Tensor]], float] | None:
        """See `Shell`."""
        return self._time

    def _time(self, call: Callable[[], Tensor]) -> float:
        """The device's own time where a graph keeps Python out of it, and the host's else."""
        for _ in range(_WARM_UPS):
            call()
        torch.cuda.synchronize(self.device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        best = float("inf")
        for _ in range(_TIMED):
            begin = time.perf_counter()
            # Long enough for the calls to be queued behind it, so that only the device is timed.
            torch.cuda._sleep(200_000)
            start.record()
            call()
            end.record()
            end.synchronize()
            elapsed = float(start.elapsed_time(end))
            best = min(best, (time.perf_counter() - begin) * 1e3 if self.why_no_graphs else elapsed)
        return best

    def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
        """See `Shell`."""

        def eager() -> tuple[Tensor, ...]:
            return step(**inputs)

        with self.exact(benchmark=True):
            warm(True)
            eager()
            warm(False)
            eager()
        torch.cuda.synchronize(self.device)
        if self.why_no_graphs:
            return eager
        try:
            return self._captured(eager)
        except Exception as error:  # whatever stands in the way, the same work can be begun call by call
            self.why_no_graphs = f"capturing failed with {type(error).__name__}: {str(error).splitlines()[0][:200]}"
            warnings.warn(f"no CUDA graph, so every kernel is begun by itself: {self.why_no_graphs}", BackendWarning, 2)
            torch.cuda.synchronize(self.device)
            return eager

    def _captured(self, step: Run) -> Run:
        graph = torch.cuda.CUDAGraph()
        gc.collect()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(graph, stream=self._streams["work"], capture_error_mode="thread_local"):
            outputs = step()

        def replay() -> tuple[Tensor, ...]:
            graph.replay()
            return outputs

        return replay
