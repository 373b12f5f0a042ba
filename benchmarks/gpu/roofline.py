"""The stage `roofline`: what this device can do at best, measured in the same run as the operators."""

from __future__ import annotations

from typing import Any

import torch
from harness import take_turns

from gpu.device import smi
from gpu.machine import Machine
from gpu.report import Report

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_SECONDS = 1.0


def roofline(report: Report, machine: Machine, deadline: float) -> None:
    """Copy bandwidth by size and matrix products by type. tf32 is a row of its own; "float32" is exact."""
    small = machine.device == "cpu"
    sizes = (1 << 20,) if small else (1 << 20, 8 << 20, 64 << 20, 1 << 30)
    report.put(copy_gbs={f"{size >> 20} MiB": copy_gbs(machine, size) for size in sizes})
    rates: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        side = 64 if small else (4096 if name == "float32" else 8192)
        rates[name] = product_tflops(machine, dtype, side)
        report.put(product_tflops=rates)
    if not small:
        torch.backends.cuda.matmul.allow_tf32 = True
        rates["tf32"] = product_tflops(machine, torch.float32, 8192)
        torch.backends.cuda.matmul.allow_tf32 = False
        report.put(product_tflops=rates, smi_under_load=smi())


def copy_gbs(machine: Machine, size: int) -> float:
    """10^9 bytes a second of a device-to-device copy of `size` bytes, read plus written, between ever new buffers."""
    count = max(1, min(64, 3 * machine.cache_bytes // (2 * size) + 1))
    pairs = [torch.randint(0, 255, (2, size), dtype=torch.uint8, device=machine.device) for _ in range(count)]
    calls = [lambda pair=pair: pair[0].copy_(pair[1]) for pair in pairs]
    timing = take_turns({"copy": machine.graph(calls)}, _SECONDS)["copy"]
    return 2 * size / timing.p50 / 1e6


def product_tflops(machine: Machine, dtype: torch.dtype, side: int) -> float:
    """10^12 operations a second of a square matrix product of random numbers."""
    a, b = (torch.randn(side, side, device=machine.device).to(dtype) for _ in range(2))
    timing = take_turns({"product": machine.launches([lambda: a @ b])}, _SECONDS)["product"]
    return 2 * side**3 / timing.p50 / 1e9
