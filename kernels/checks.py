"""Checks of what an operator is given; each error says what came, what was expected and what to do."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, ShapeError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def describe(x: Tensor) -> str:
    """Shape and type as people write them: `[1, 64, 64, 3] float32`."""
    return f"{list(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def check_rank(name: str, x: Tensor, *layouts: str) -> None:
    """Hold `x` to one of `layouts`, each written as one letter per axis ("BHWC").

    Raises:
        ShapeError: `x` has another number of axes.
    """
    if x.ndim not in {len(layout) for layout in layouts}:
        wanted = " or ".join(f"[{', '.join(layout)}]" for layout in layouts)
        raise ShapeError(f"{name} is {describe(x)}", wanted, "Channels come last here: permute an NCHW tensor.")


def check_dtype(name: str, x: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    """Hold `x` to one of the types in `allowed`.

    Raises:
        DtypeError: it has another.
    """
    if x.dtype not in allowed:
        words = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise DtypeError(f"{name} is {describe(x)}", words, "Convert it with .to(...).")
