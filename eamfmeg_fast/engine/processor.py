"""What the processor can really do, as far as a choice of precision needs it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

_WANTED = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "bf16", "i8mm")


@cache
def processor_features() -> frozenset[str]:
    """Names of the instruction sets that matter here, as Linux spells them; empty where it is not told."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset({"avx2"} if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else ())
    return frozenset(words.intersection(_WANTED))


def multiplies_bf16() -> bool:
    """Whether our kernels have instructions for products of bfloat16 here, which are faster than those of float32."""
    return "avx512_bf16" in processor_features()


def multiplies_int8() -> bool:
    """Whether products of eight-bit integers are faster here than those of float32."""
    return bool(processor_features() & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"})
