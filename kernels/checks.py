"""Checks of what an operator is given; each error says what came, what was expected and what to do."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from eamfmeg_fast.errors import DtypeError, OptionError, ShapeError

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


def check_shape(name: str, x: Tensor, shape: tuple[int, ...], like: str) -> None:
    """Hold `x` to `shape`, which follows from `like`.

    Raises:
        ShapeError: it has another.
    """
    if tuple(x.shape) != shape:
        raise ShapeError(f"{name} is {describe(x)}", f"{list(shape)} to go with {like}")


def check_packed(packed: Tensor, numbers: int, dtype: torch.dtype) -> None:
    """Hold packed kernels to what a weight of the shape at hand becomes, with the products at hand.

    Raises:
        DtypeError: packed for other products.
        ShapeError: packed from another weight.
    """
    check_dtype("packed", packed, (dtype,))
    if packed.numel() != numbers:
        fix = "Pass the shape of the weight that was packed."
        raise ShapeError(f"packed is {describe(packed)}", f"{numbers} numbers to go with weight", fix)


def check_exact(name: str, x: Tensor, like: Tensor | None = None) -> None:
    """Hold what keypoints and flow are computed from to float32 or float64, and to the type of `like`.

    Raises:
        DtypeError: it has another.
    """
    if x.dtype not in (torch.float32, torch.float64):
        fix = "Keypoints and flow need float32: convert with .float()."
        raise DtypeError(f"{name} is {describe(x)}", "float32, float64", fix)
    if like is not None and x.dtype != like.dtype:
        wanted = str(like.dtype).removeprefix("torch.")
        raise DtypeError(f"{name} is {describe(x)}", f"{wanted}, as the others", "Convert it with .to(...).")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Hold an option to one of `choices`.

    Raises:
        OptionError: it is none of them.
    """
    if value not in choices:
        raise OptionError(f"{name} is {value!r}", " or ".join(choices))


def check_positive(name: str, value: float) -> None:
    """Hold a number to what can be divided by in float32: finite, and not so close to zero that 1 / value is infinite.

    Raises:
        OptionError: it is not.
    """
    if not 2.0**-126 <= value < math.inf:
        raise OptionError(f"{name} is {value}", "a finite number above zero")
