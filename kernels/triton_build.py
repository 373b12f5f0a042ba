"""Compiles Triton kernels for architectures that need not be here, and reads what each costs."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CAPABILITIES = (80, 86, 89, 90, 100, 120)
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Variant:
    """One way in which a kernel is launched by the network, for compilation ahead of time.

    Attributes:
        name: what it is, "float16, 64x64x256".
        kernel: the `triton.jit` function.
        signature: Triton's types of its run-time arguments, "*fp16", "i32", "fp32".
        constexprs: values of its compile-time arguments.
        num_warps, num_stages: as launched.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 3
    aligned: bool = field(default=True)


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes: registers a thread, bytes spilled a thread, bytes of shared memory a block."""

    registers: int
    spilled: int
    shared: int
    tensor_cores: bool


def build(variant: Variant, capability: int) -> Resources:
    """Compile `variant` to a cubin for `sm_<capability>`; needs no GPU."""
    full = {**variant.signature, **dict.fromkeys(variant.constexprs, "constexpr")}
    order = {name: full[name] for name in variant.kernel.arg_names}
    pointers = [i for i, kind in enumerate(order.values()) if kind.startswith("*")] if variant.aligned else []
    attrs = {(i,): [["tt.divisibility", 16]] for i in pointers}
    compiled = triton.compile(
        ASTSource(fn=variant.kernel, signature=order, constexprs=dict(variant.constexprs), attrs=attrs),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": variant.num_warps, "num_stages": variant.num_stages},
    )
    return _resources(compiled.asm["cubin"], compiled.asm["ptx"], compiled.metadata.shared)


def _resources(cubin: bytes, ptx: str, shared: int) -> Resources:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        environment = {**os.environ, "PATH": f"{_TOOLS}{os.pathsep}{os.environ.get('PATH', '')}"}
        command = [str(_TOOLS / "cuobjdump"), "-res-usage", file.name]
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    figures = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    matrix = re.search(r"\b(wgmma|mma|tcgen05)\.", ptx) is not None
    return Resources(figures["REG"], figures["STACK"] + figures["LOCAL"], shared, matrix)


def interpreting() -> bool:
    """Whether the kernels of this process run in Triton's interpreter, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not_running() -> str:
    """Why no Triton kernel can run in this process, one clause; empty when it can."""
    if interpreting() or torch.cuda.is_available():
        return ""
    return "no CUDA device, and TRITON_INTERPRET is not set"
