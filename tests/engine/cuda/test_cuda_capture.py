"""What a CUDA graph would hold on to: nothing of the values that it was captured with, and nothing of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from eamfmeg_fast.engine.cuda import CudaBackend, layers, shell
from eamfmeg_fast.engine.cuda.program import Programs
from eamfmeg_fast.engine.cuda.shell import HostShell, Run, Step
from eamfmeg_fast.engine.cuda.steps import Steps
from eamfmeg_fast.engine.cuda.target import TargetMaps, maps_of
from eamfmeg_fast.engine.cuda.tuning import Tuner
from eamfmeg_fast.network import Keypoints, Network

Backends = Callable[..., CudaBackend]
Pictures = Callable[..., Tensor]


class GraphShell(HostShell):
    """Captures as CUDA graphs do: kernels in their order with what the host knew then, results in the same memory."""

    why_no_graphs = ""

    def __init__(self) -> None:
        self.graphs: list[GraphModule] = []

    def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
        names = list(inputs)
        graph = make_fx(lambda *given: step(**dict(zip(names, given))))(*inputs.values())
        self.graphs.append(graph)
        results = tuple(torch.empty_like(x) for x in graph(*inputs.values()))

        def replay() -> tuple[Tensor, ...]:
            for kept, new in zip(results, graph(*inputs.values())):
                kept.copy_(new)
            return results

        return replay


@pytest.mark.slow
@pytest.mark.parametrize("network", ["released, skip"], indirect=True)
def test_a_replay_follows_everything_that_goes_in(network: Network, backend: Backends, pictures: Pictures) -> None:
    """Target, frame, reference frame and gain: each is another one than at the capture."""
    graphs = GraphShell()
    captured, eager = backend(network, "fp16", graphs), backend(network, "fp16")
    results = []
    for fast in (captured, eager):
        rows = []
        for seed in (3, 11):
            state = fast.prepare(pictures(1, seed=seed))
            initial, driving = (fast.detect(pictures(1, seed=seed + i)) for i in (1, 2))
            rows += [*driving, *fast.draw(state, driving)[:3]]
            for start in (initial, None):
                program = fast.frame_program(state, start, torch.tensor([0.5 + seed]), pictures(1))
                program.load("frames", None, {"frames": pictures(1, seed=seed + 3)})
                rows += [x.clone() for x in program.run()]
        results.append(rows)
    assert len(graphs.graphs) == 4
    for a, b in zip(*results, strict=True):
        assert (a.int() - b.int()).abs().max() <= 1 if a.dtype == torch.uint8 else torch.allclose(a, b, atol=1e-6)
    half = len(results[0]) // 2
    for a, b in zip(results[0][:half], results[0][half:], strict=True):
        assert torch.equal(a, b) == (a.dtype == torch.int32)


def test_nothing_is_captured_twice(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    class Counting(HostShell):
        captured = 0

        def capture(self, step: Step, inputs: Mapping[str, Tensor], warm: Callable[[bool], None]) -> Run:
            self.captured += 1
            return super().capture(step, inputs, warm)

    counting = Counting()
    fast = backend(one_network, "fp32", counting)
    for count in (1, 2, 1, 2):
        state = fast.prepare(pictures(1, seed=count))
        fast.draw(state, fast.detect(pictures(count)))
    assert counting.captured == 4


def test_a_state_without_rest_is_not_drawn_with_another_s(
    one_network: Network, backend: Backends, pictures: Pictures
) -> None:
    """One program holds one set of maps: what a state lacks is not what the program was loaded with before."""
    fast = backend(one_network, "fp32", GraphShell())
    first, second = fast.prepare(pictures(1, seed=1)), fast.prepare(pictures(1, seed=2))
    moved = fast.detect(pictures(1, seed=5))
    without = replace(second, rest=None)
    expected = backend(one_network).draw(without, moved)
    fast.draw(replace(first, rest=torch.ones_like(first.rest) * 0.9), moved)
    drawn = fast.draw(without, moved)
    assert (drawn.images.int() - expected.images.int()).abs().max() <= 1
    assert not torch.equal(drawn.images, fast.draw(second, moved).images)


def test_programs_that_were_not_used_for_long_are_let_go() -> None:
    programs, made = Programs(), []

    def make() -> Any:
        made.append(1)
        return object()

    kept = [programs.get(i, make) for i in range(8)]
    assert programs.get(0, make) is kept[0] and len(made) == 8
    programs.get(8, make)
    assert programs.get(0, make) is kept[0] and programs.get(1, make) is not kept[1]


class OnDevice(TorchDispatchMode):
    """Refuses work with tensors of the host, and questions to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default):
            raise AssertionError(f"{func} in a captured step")
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in pytree.tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        if any(x.device.type != "meta" for x in tensors):
            raise AssertionError(f"{func} works on the host")
        return result


def _without_values(x: Any, done: set[int]) -> Any:
    """Everything that an object holds as shapes on a device of its own: "meta" has no numbers to be asked for."""
    if isinstance(x, Tensor):
        return x.to("meta")
    if isinstance(x, list | tuple):
        made = [_without_values(y, done) for y in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    if type(x).__module__.startswith("eamfmeg_fast.engine.cuda") and hasattr(x, "__dict__") and id(x) not in done:
        done.add(id(x))
        for name, value in list(vars(x).items()):
            object.__setattr__(x, name, _without_values(value, done))
    return x


@pytest.fixture
def fake_steps(network: Network, backend: Backends, pictures: Pictures) -> tuple[Steps, TargetMaps]:
    fast = backend(network, "fp16")
    maps = maps_of(fast.prepare(pictures(1)), network.config.skip)
    done = set[int]()
    return _without_values(fast.steps, done), _without_values(maps, done)


@pytest.mark.parametrize("relative", [True, False])
def test_the_step_never_leaves_the_device(
    fake_steps: tuple[Steps, TargetMaps], network: Network, relative: bool
) -> None:
    """A tensor of the host among those of the device, or a question to the device, is an error here."""
    steps, maps = fake_steps
    frames = torch.empty(4, 64, 64, 3, dtype=torch.uint8, device="meta")
    count = network.config.num_kp
    kp, jacobian = torch.empty(1, count, 2, device="meta"), torch.empty(1, count, 2, 2, device="meta")
    with OnDevice():
        results = steps.frame(0, frames, Keypoints(kp, jacobian) if relative else None, kp.new_empty(1), maps)
    images, flow, occlusion, flag, *driving = results
    assert all(x.device.type == "meta" for x in results)
    assert images.shape == (4, 64, 64, 3) and images.dtype == torch.uint8
    assert flow.shape == (4, 16, 16, 2) and occlusion.shape == (4, 16, 16)
    assert flag.shape == (1,) and [x.shape for x in driving] == [(4, count, 2), (4, count, 2, 2)]


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x * x.sum().item(),
        lambda x: x + torch.zeros(2, 2),
        lambda x: x.cpu() * 2,
        lambda x: x.copy_(torch.zeros(2, 2)),
        lambda x: x if x.sum() > 0 else -x,
    ],
)
def test_what_leaves_the_device_is_seen(fault: Callable[[Tensor], Tensor]) -> None:
    x = torch.zeros(2, 2, device="meta")
    with OnDevice(), pytest.raises((RuntimeError, AssertionError, NotImplementedError)):
        fault(x)


def test_the_faster_way_is_chosen_where_it_computes_the_same() -> None:
    right, wrong = torch.ones(3), torch.full((3,), 1.5)

    def fails() -> Tensor:
        raise RuntimeError("no such kernel")

    tuner = Tuner()
    ways = {"first": lambda: right, "second": lambda: right.clone()}
    assert tuner.choose("a", ways) == "first" and not tuner.chosen
    tuner.stopwatch = lambda call: 1.0 if call is ways["second"] else 2.0
    assert tuner.choose("a", ways) == "second"
    tuner.stopwatch = None
    assert tuner.choose("a", ways) == "second" and tuner.choose("b", ways) == "first"
    tuner.stopwatch = lambda call: 1.0
    for place, bad, why in (("c", lambda: wrong, "differs by 0.5"), ("d", fails, "no such kernel")):
        with pytest.warns(RuntimeWarning, match=why):
            assert tuner.choose(place, {"first": lambda: right, "second": bad}) == "first"


def test_both_ways_of_an_up_block_draw_the_same(
    one_network: Network, backend: Backends, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_FOLDED_FROM", 1)
    drawn = []
    for way in ("doubled", "phases"):
        fast = backend(one_network)
        tried: list[str] = []
        fast.steps.tuner.choose = lambda place, ways, way=way, tried=tried: tried.append(place) or way
        drawn.append(fast.draw(fast.prepare(pictures(1)), fast.detect(pictures(1, seed=4))))
        assert len(set(tried)) == 6
    assert torch.allclose(drawn[0].flow, drawn[1].flow, atol=1e-5) and not torch.equal(drawn[0].flow, drawn[1].flow)
    assert (drawn[0].images.int() - drawn[1].images.int()).abs().max() <= 1


def test_tries_end_before_the_capture(one_network: Network, backend: Backends, pictures: Pictures) -> None:
    """The device's own shell, as far as it goes without a device: warm, tried, and then begun call by call."""
    told: list[bool] = []

    class Failing(shell.CudaShell):
        def __init__(self) -> None:
            self.why_no_graphs, self.device = "", torch.device("cpu")

        def _captured(self, step: Run) -> Run:
            assert told == [True, False]
            raise RuntimeError("operation not permitted\nmore words")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "synchronize", lambda *device: None)
        tested = Failing()
        with pytest.warns(RuntimeWarning, match="no CUDA graph.*RuntimeError: operation not permitted"):
            run = tested.capture(lambda x: (x + 1,), {"x": torch.ones(1)}, told.append)
        assert run()[0].item() == 2 and "not permitted" in tested.why_no_graphs
        told.clear()
        tested.capture(lambda x: (x,), {"x": torch.ones(1)}, told.append)


def test_exact_has_no_tf32_and_leaves_the_switches_as_they_were() -> None:
    tested = shell.CudaShell.__new__(shell.CudaShell)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    with tested.exact(benchmark=True):
        assert not torch.backends.cudnn.allow_tf32 and torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before


class _Fake:
    """Stands for streams, events, graphs and their contexts; `told` is what was done with them."""

    told: list[str] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        self.told.append(f"new {sorted(options)}" if options else "new")

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> None: ...

    def elapsed_time(self, other: Any) -> float:
        return 1.0

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.told.append(name)


def test_the_device_s_shell_on_fakes(
    one_network: Network, backend: Backends, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody replays here, but every call is one that PyTorch knows, in an order that a device would take."""
    for name in ("Stream", "Event", "CUDAGraph", "stream", "graph"):
        assert hasattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, _Fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *device: _Fake())
    for name in ("synchronize", "_sleep"):
        monkeypatch.setattr(torch.cuda, name, lambda *args, name=name: _Fake.told.append(name))
    _Fake.told.clear()
    fast, plain = backend(one_network, "fp16", shell.CudaShell(torch.device("cpu"))), backend(one_network, "fp16")
    assert fast.shell.why_no_graphs == ""
    state, expected = fast.prepare(pictures(1)), plain.prepare(pictures(1))
    points = fast.detect(pictures(1, seed=4))
    assert all(map(torch.equal, points, plain.detect(pictures(1, seed=4))))
    # A capture computes nothing: its graph is replayed for the first frame too.
    assert "new ['capture_error_mode', 'stream']" in _Fake.told and _Fake.told.count("replay") == 2
    fast.detect(pictures(1, seed=4))
    assert _Fake.told.count("replay") == 3
    pipe = fast.pipe(state, points, torch.ones(1), 1, 2)
    pipe.submit(pictures(1, seed=6))
    other = plain.pipe(expected, points, torch.ones(1), 1, 2)
    other.submit(pictures(1, seed=6))
    assert (pipe.collect().int() - other.collect().int()).abs().max() <= 1
    pipe.close()
    for word in ("wait_stream", "wait_event", "record", "synchronize", "replay"):
        assert word in _Fake.told, word
    assert set(fast.steps.tuner.chosen.values()) <= {"doubled", "phases"} and fast.steps.tuner.chosen
