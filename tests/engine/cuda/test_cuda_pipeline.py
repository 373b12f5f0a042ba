"""Frames on their way: the same pictures in the same order, however late the device is with anything."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eamfmeg_fast.engine import Engine, choose_backend
from eamfmeg_fast.engine import engine as engine_module
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.engine.cuda.shell import HostShell, Run, Step
from eamfmeg_fast.engine.state import TargetState
from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError
from eamfmeg_fast.network import Keypoints, Network

Backends = Callable[..., CudaBackend]
Pictures = Callable[..., Tensor]
Mark = tuple[str, int]


class LateShell(HostShell):
    """Streams that do their work some time after it was begun; only marks that are waited for hold anything back.

    Args:
        seed: of how late. deaf: streams in which waiting is forgotten.
    """

    def __init__(self, seed: int, deaf: tuple[str, ...] = ()) -> None:
        self._random, self._deaf = random.Random(seed), deaf
        self._queues: dict[str, list[tuple[Mark | None, Callable[[], Any]]]] = defaultdict(list)
        self._done: dict[str, int] = defaultdict(int)
        self.stream, self.busy = "", False

    @contextlib.contextmanager
    def on(self, stream: str) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    def enter(self) -> contextlib.AbstractContextManager[None]:
        return self.on("work")

    def later(self, call: Callable[[], Any], behind: Mark | None = None) -> None:
        """Begin with `call` in the stream of the moment; then the device goes on by a bit."""
        self._queues[self.stream].append((behind, call))
        for stream in self._random.sample(["up", "work", "down"], self._random.randrange(4)):
            for _ in range(self._random.randrange(4)):
                self._advance(stream, forced=False)

    def mark(self) -> Mark | None:
        return (self.stream, self._done[self.stream] + len(self._queues[self.stream])) if self.stream else None

    def wait(self, mark: Mark | None) -> None:
        if mark is not None and self.stream not in self._deaf:
            self.later(lambda: None, mark)

    def synchronize(self, mark: Mark | None) -> None:
        while mark is not None and self._done[mark[0]] < mark[1]:
            self._advance(mark[0], forced=True)

    def _advance(self, stream: str, forced: bool) -> None:
        if not self._queues[stream]:
            return
        behind, call = self._queues[stream][0]
        if behind is not None and self._done[behind[0]] < behind[1]:
            if not forced:
                return
            self.synchronize(behind)
        self.busy = True
        call()
        self.busy = False
        self._queues[stream].pop(0)
        self._done[stream] += 1

    def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
        self.synchronize(self.mark())
        self.busy = True
        results = step(**inputs)
        self.busy = False

        def replay() -> None:
            for kept, new in zip(results, step(**inputs)):
                kept.copy_(new)

        def run() -> tuple[Tensor, ...]:
            self.later(replay)
            return results

        return run


class Copies(TorchDispatchMode):
    """Lets copies go the way of the stream in which they are begun."""

    def __init__(self, shell: LateShell) -> None:
        super().__init__()
        self._shell = shell

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and self._shell.stream and not self._shell.busy:
            self._shell.later(lambda: args[0].copy_(args[1]))
            return args[0]
        return func(*args, **(kwargs or {}))


def _through(
    fast: CudaBackend, state: TargetState, initial: Keypoints, frames: list[Tensor], depth: int
) -> list[Tensor]:
    pipe = fast.pipe(state, initial, torch.tensor([1.5]), frames[0].shape[0], depth)
    found, sent = [], 0
    for frame in frames:
        # The camera writes into the same memory again.
        given = frame.clone()
        pipe.submit(given)
        given.zero_()
        sent += 1
        if sent == depth:
            found.append(pipe.collect())
            sent -= 1
    found += [pipe.collect() for _ in range(sent)]
    pipe.close()
    return found


def _setting(fast: CudaBackend, pictures: Pictures) -> tuple[TargetState, Keypoints, list[Tensor]]:
    frames = list(pictures(8, seed=21).split(1))
    return fast.prepare(pictures(1)), fast.detect(pictures(1, seed=9)), frames


def _late(backend: Backends, network: Network, pictures: Pictures, shell: LateShell, depth: int) -> list[Tensor]:
    plain = backend(network)
    state, initial, frames = _setting(plain, pictures)
    late = backend(network, "fp32", shell)
    with Copies(shell):
        return _through(late, state, initial, frames, depth)


def _expected(backend: Backends, network: Network, pictures: Pictures) -> list[Tensor]:
    plain = backend(network)
    return _through(plain, *_setting(plain, pictures), 1)


@pytest.mark.slow
def test_a_late_device_changes_nothing(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    expected = _expected(backend, one_network, pictures)
    assert len({x.numpy().tobytes() for x in expected}) == len(expected)
    for depth in (1, 2, 3):
        for seed in range(2):
            found = _late(backend, one_network, pictures, LateShell(seed), depth)
            assert all(map(torch.equal, found, expected)), (depth, seed)


@pytest.mark.parametrize("deaf", ["work", "down"])
def test_a_wait_that_is_missing_shows(one_network: Network, backend: Backends, pictures: Pictures, deaf: str) -> None:
    expected = _expected(backend, one_network, pictures)
    runs = (_late(backend, one_network, pictures, LateShell(seed, (deaf,)), 2) for seed in range(8))
    assert not all(all(map(torch.equal, found, expected)) for found in runs)


def test_whole_steps_are_detecting_moving_and_drawing(
    network: Network, backend: Backends, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One graph for all of it gives what three calls of the engine give; one target or two, relative and absolute."""
    engine = _engine(network, monkeypatch)
    targets, frames = [x.numpy() for x in pictures(2)], [x.numpy() for x in pictures(5, seed=31)]
    one, two = engine.prepare(targets[0]), engine.prepare_many(targets)
    initial = engine.detect(frames[0])
    for motion in ("relative", "absolute"):
        options: dict[str, Any] = {"motion": motion, "gain": 1.3}
        for batch, ahead in ((1, 1), (2, 0), (3, 2)):
            found = list(engine.stream(one, initial, iter(frames), batch=batch, ahead=ahead, **options))
            right = [engine.step(one, initial, engine.detect(frame), **options).image for frame in frames]
            assert len(found) == 5 and _apart(found, right) <= 1
        both = list(engine.stream(two, initial, frames, **options))
        right = [engine.step_many(two, initial, engine.detect(frame), **options) for frame in frames]
        assert both[0].shape == (2, 64, 64, 3)
        assert _apart(both, [np.stack([x.image for x in pair]) for pair in right]) <= 1


def _apart(a: list[np.ndarray], b: list[np.ndarray]) -> int:
    return int(np.abs(np.stack(a).astype(int) - np.stack(b)).max())


def _engine(network: Network, monkeypatch: pytest.MonkeyPatch, word: str = "fp32", name: str = "cuda") -> Engine:
    plan = replace(choose_backend(device="cpu"), backend=name, decoder=word, reason="a test")
    monkeypatch.setattr(engine_module, "choose_backend", lambda *asked: plan)
    return Engine(network)


def test_every_backend_streams(one_network: Network, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, frames = pictures(1).numpy(), [x.numpy() for x in pictures(3, seed=31)]
    rows = []
    for name in ("cuda", "reference"):
        engine = _engine(one_network, monkeypatch, name=name)
        state, initial = engine.prepare(targets[0]), engine.detect(frames[2])
        rows.append(list(engine.stream(state, initial, frames, batch=2)))
    assert _apart(*rows) <= 1 and len(rows[0]) == 3


def test_frames_are_asked_for_only_when_they_are_needed(
    one_network: Network, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, given = _engine(one_network, monkeypatch), []
    frames = [x.numpy() for x in pictures(4, seed=31)]

    def camera() -> Iterator[np.ndarray]:
        for i, frame in enumerate(frames):
            given.append(i)
            yield frame

    state, initial = engine.prepare(frames[0]), engine.detect(frames[1])
    for ahead in (0, 1, 2):
        given.clear()
        stream = engine.stream(state, initial, camera(), ahead=ahead)
        assert not given
        next(stream)
        assert given == list(range(ahead + 1))
        stream.close()


def test_what_cannot_be_streamed_is_refused(
    one_network: Network, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(one_network, monkeypatch)
    frame = pictures(1)[0].numpy()
    state, initial = engine.prepare_many([frame, frame]), engine.detect(frame)
    with pytest.raises(OptionError, match="relative or absolute"):
        engine.stream(state, initial, [frame], motion="sideways")
    with pytest.raises(ShapeError, match="2 targets and 3 frames"):
        engine.stream(state, initial, [frame], batch=3)
    with pytest.raises(DtypeError, match="float32"):
        list(engine.stream(state, initial, [frame.astype(np.float32)]))
    assert not list(engine.stream(state, initial, []))


def test_frames_that_outgrow_float16_are_drawn_again_on_their_way(
    one_network: Network, backend: Backends, pictures: Pictures
) -> None:
    fast = backend(one_network, "fp16")
    state, initial, frames = _setting(fast, pictures)
    expected = _expected(backend, one_network, pictures)
    fast.steps.decoders[0]._residuals[0].conv1.bias[0] = 7e4
    with pytest.warns(RuntimeWarning, match="an activation outgrew it"):
        found = _through(fast, state, initial, frames, 2)
    for a, b in zip(found, expected, strict=True):
        assert (a.int() - b.int()).abs().float().mean() < 0.5
