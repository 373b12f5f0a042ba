"""The operators' figures: `python benchmarks/operators.py [name...]` measures, keeps them and writes the table.

For each operator: the error on every sample as a share of what the rule allows, planted faults caught in each room,
speed of the CPU room against the reference run eagerly and compiled (each in its fastest layout), and what the GPU
kernels take. An operator with a fault gets no speed.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from harness import Timing, interleave, pinned
from operators_table import write_table

from eamfmeg_fast.kernels.mutants import count
from eamfmeg_fast.kernels.registry import Op, Room, Sample, operators
from eamfmeg_fast.kernels.side_build import SideLibrary, build_cpu, build_cuda_on_host
from eamfmeg_fast.kernels.testing import judge

RESULT = Path(__file__).parent / "results" / "operators.json"
_INTERPRETED = "--interpreted"


def accuracy(op: Op, room: Room, lib: SideLibrary | None) -> dict[str, Any]:
    """Errors and planted faults of one room that runs here."""
    taken = [sample for sample in op.samples() if room.takes(*sample.args)]
    if room.name != "cpu":
        taken = [sample for sample in taken if sample.tiny]

    def run(sample: Sample, mutant: int) -> Any:
        switches: dict[str, Any] = {"mutant": mutant} if lib is None else {"lib": lib.with_mutant(mutant)}
        return judge(op, room, sample, **switches)

    judgements = [run(sample, 0) for sample in taken]
    mutants = count(room, taken, run)
    return {
        "samples": len(taken),
        "faults": [sample.name for sample, judged in zip(taken, judgements) if judged.fault],
        "excess": round(max(judged.excess for judged in judgements), 3),
        "mutants": mutants.words,
        "survivors": list(mutants.survivors),
    }


def speed(op: Op, threads: int) -> dict[str, Any]:
    """Ours against the rivals on one frame of the full-size network; ratios above 1 say that ours is faster."""
    result: dict[str, Any] = {"ours_ms": {}, "ratios": {}}
    for case, sample in cases(op).items():
        with torch.inference_mode(), pinned(threads):
            times = interleave(variants(op, sample))
        ours = times.pop("ours")
        packed = times.pop("ours, packed", None)
        rows = {name: _best([times[f"{name}, {layout}"] for layout in ("NHWC", "NCHW")]) for name in _families(times)}
        result["ours_ms"][case or "network"] = dataclasses.asdict(ours)
        for name, rival in rows.items():
            result["ratios"][f"{case}: {name}" if case else name] = round(rival.p50 / ours.p50, 2)
        if packed is not None:
            plain = next(iter(rows))
            name = f"{case}: {plain}" if case else plain
            result["ratios"][f"{name}, weights packed before"] = round(rows[plain].p50 / packed.p50, 2)
    return result


def cases(op: Op) -> dict[str, Sample]:
    """What is timed: one call, both modes of the attention, or both types of the convolution's products."""
    modes = {"edge_attention": ("released", "edge-query"), "conv3x3": ("float32", "bfloat16")}
    if op.name not in modes:
        return {"": op.network()}
    module = importlib.import_module(f"eamfmeg_fast.kernels.{op.name}.samples")
    return {mode: module.network(mode) for mode in modes[op.name]}


def variants(op: Op, sample: Sample) -> dict[str, Callable[[], object]]:
    """Everything that is timed for one call of an operator."""
    layouts = {"NHWC": sample.args, "NCHW": tuple(map(_channels_first, sample.args))}
    plain = op.reference
    if op.name == "conv3x3":
        # The rival is a convolution by its definition, all of whose tensors have the products' type.
        plain, kind = _convolution, getattr(torch, sample.args[-1])
        layouts = {name: tuple(_converted(arg, kind) for arg in args) for name, args in layouts.items()}
    functions: dict[str, Callable[..., object]] = {"eager": plain}
    torch._dynamo.reset()
    functions["compiled"] = torch.compile(plain, dynamic=False)
    if op.name == "warp_occlude":
        functions["grid_sample and multiply"] = _grid_sample
    calls: dict[str, Callable[[], object]] = {"ours": lambda: op.public(*sample.args)}
    if op.name in ("conv3x3", "upsample_conv"):
        calls["ours, packed"] = _packed(op, sample)
    for name, function in functions.items():
        for layout, args in layouts.items():
            calls[f"{name}, {layout}"] = lambda f=function, a=args: f(*a)
    return calls


def _packed(op: Op, sample: Sample) -> Callable[[], object]:
    from eamfmeg_fast.kernels.conv3x3.native import pack_conv3x3
    from eamfmeg_fast.kernels.upsample_conv.native import pack_phases

    weight, products = sample.args[1], sample.args[-1]
    packed = pack_conv3x3(weight, products) if op.name == "conv3x3" else pack_phases(weight)
    out, into = op.fake(*sample.args), op.rooms["cpu"].into
    return lambda: into(out, *sample.args, packed=packed)


def _convolution(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    residual: torch.Tensor,
    *others: object,
) -> torch.Tensor:
    x = torch.relu(features * scale + shift).permute(0, 3, 1, 2)
    return torch.relu(F.conv2d(x, weight, bias, padding=1)).permute(0, 2, 3, 1) + residual


def _converted(value: Any, kind: torch.dtype) -> Any:
    return value.to(kind) if isinstance(value, torch.Tensor) else value


def _grid_sample(features: torch.Tensor, flow: torch.Tensor, occlusion: torch.Tensor, align: bool) -> torch.Tensor:
    out = F.grid_sample(features.permute(0, 3, 1, 2), flow, align_corners=align)
    return out * occlusion[:, None]


def _channels_first(value: Any) -> Any:
    """The same NHWC tensor, kept in memory channels first."""
    if isinstance(value, torch.Tensor) and value.ndim == 4 and value.shape[-1] > 2:
        return value.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    return value


def _families(times: dict[str, Timing]) -> list[str]:
    return list(dict.fromkeys(name.rsplit(", ", 1)[0] for name in times))


def _best(timings: list[Timing]) -> Timing:
    return min(timings, key=lambda timing: timing.p50)


def overhead_us(op: Op) -> dict[str, float]:
    """Microseconds of one call on a single pixel, through the public function and straight into the room."""
    x = torch.ones(1, 1, 1, 1)
    out = torch.empty_like(x)
    calls = {"public": lambda: op.public(x), "room": lambda: op.rooms["cpu"].into(out, x), "clone": x.clone}
    with torch.inference_mode(), pinned(1):
        times = interleave(calls, 1.0)
    return {name: round(timing.p50 * 1e3, 2) for name, timing in times.items()}


def resources(name: str) -> list[dict[str, Any]]:
    """Registers, spills and shared memory of the Triton kernels on every architecture."""
    from eamfmeg_fast.kernels.triton_build import CAPABILITIES, build

    room = importlib.import_module(f"eamfmeg_fast.kernels.{name}.triton_kernel")
    return [
        {"variant": variant.name, "sm": capability, **dataclasses.asdict(build(variant, capability))}
        for variant in room.variants()
        for capability in CAPABILITIES
    ]


def interpreted(names: list[str]) -> dict[str, Any]:
    """`accuracy` of the Triton rooms, from a process whose kernels are interpreted."""
    command = [sys.executable, __file__, _INTERPRETED, *names]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def measure(names: list[str]) -> dict[str, Any]:
    """All figures of the operators `names`."""
    known = operators()
    rows: dict[str, Any] = {}
    triton = interpreted(names)
    with tempfile.TemporaryDirectory() as cpu, tempfile.TemporaryDirectory() as cuda:
        libraries = {"cpu": build_cpu(Path(cpu)), "cuda": build_cuda_on_host(Path(cuda))}
        for name in names:
            op = known[name]
            rooms = {r: accuracy(op, room, libraries[r]) for r, room in op.rooms.items() if r in libraries}
            if name in triton:
                rooms["triton"] = triton[name]
            row: dict[str, Any] = {"rooms": rooms, "triton": resources(name) if "triton" in op.rooms else []}
            if not any(found["faults"] or found["survivors"] for found in rooms.values()):
                row["cpu"] = {str(threads): speed(op, threads) for threads in (1, 2)}
            rows[name] = row
            print(f"{name}: measured", file=sys.stderr)
    return rows


def main() -> None:
    """Measure the named operators, or all; keep what was measured before of the others."""
    known = operators()
    if sys.argv[1:2] == [_INTERPRETED]:
        chosen = [known[name] for name in sys.argv[2:] if "triton" in known[name].rooms]
        print(json.dumps({op.name: accuracy(op, op.rooms["triton"], None) for op in chosen}))
        return
    names = sys.argv[1:] or list(known)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {"operators": {}}
    rows = {**kept["operators"], **measure(names)}
    result = {
        "torch": torch.__version__.split("+")[0],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "overhead_us": overhead_us(known["identity"]),
        "operators": {name: rows[name] for name in known if name in rows},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    write_table(result)


if __name__ == "__main__":
    main()
