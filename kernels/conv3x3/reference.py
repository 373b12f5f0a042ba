"""conv3x3 in plain PyTorch, any precision: Winograd's minimal filtering, and the convolution by its definition.

A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016. A product of polynomials is known from its
values at enough points; a correlation is the transposed product. Four outputs of a kernel of three take six points.
"""

from __future__ import annotations

import functools
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUTS = 4
"""Outputs of a tile along one axis; it sees two more inputs."""
POINTS = (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
"""Interpolation points; the sixth is infinity."""


@functools.cache
def matrices() -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """`A^T` 4x6, `G` 6x3, `B^T` 6x6, all exact but G: `A^T ((G g) * (B^T d))` are four outputs of g over six d.

    Row i of `B^T` holds the coefficients of the polynomial that vanishes at all other points; its value at point i
    divides row i of `G`. Powers of two could be moved between those rows, but floating point would round the same.
    """
    outputs = [[point**k for point in POINTS] + [Fraction(k == OUTPUTS - 1)] for k in range(OUTPUTS)]
    inputs, kernel = [], []
    for point in POINTS:
        others = [other for other in POINTS if other != point]
        inputs.append([*_polynomial(others), Fraction(0)])
        value = functools.reduce(lambda product, other: product * (point - other), others, Fraction(1))
        kernel.append([point**k / value for k in range(3)])
    inputs.append(_polynomial(POINTS))
    kernel.append([Fraction(0), Fraction(0), Fraction(1)])
    at, g, bt = ([[float(x) for x in row] for row in matrix] for matrix in (outputs, kernel, inputs))
    return at, g, bt


def conv3x3(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    products: str,
) -> Tensor:
    """Convolve 3x3 with zero padding 1, by Winograd F(4x4, 3x3).

    Args:
        features: `[B, H, W, C]`; where `scale` and `shift` `[C]` are given, their `relu(features * scale + shift)`.
        weight: `[O, C, 3, 3]`; bias: `[O]` or None.
        residual: `[B, H, W, O]`, added last, or None.
        relu: whether the sum with the bias is cut off at zero.
        products: "float32" or "bfloat16": what both factors are rounded to, unless features are float64.

    Returns:
        `[B, H, W, O]`.
    """
    at, g, bt = matrices()
    x = _activated(features, scale, shift).permute(0, 3, 1, 2)
    height, width = x.shape[2:]
    # One pixel on all sides, and what is missing to whole tiles.
    x = F.pad(x, (1, 1 + -width % OUTPUTS, 1, 1 + -height % OUTPUTS))
    tiles = x.unfold(2, OUTPUTS + 2, OUTPUTS).unfold(3, OUTPUTS + 2, OUTPUTS)
    v = _rounded(_both_axes(bt, tiles), products)
    kernels = _both_axes(g, weight.double()).to(features.dtype)
    u = _rounded(kernels, products)
    (b, c, down, across), o = v.shape[:4], weight.shape[0]
    left = v.permute(4, 5, 0, 2, 3, 1).reshape(36, b * down * across, c)
    m = torch.bmm(left, u.permute(2, 3, 1, 0).reshape(36, c, o)).reshape(6, 6, b, down, across, o)
    y = _both_axes(at, m.permute(2, 3, 4, 5, 0, 1)).permute(0, 1, 4, 2, 5, 3)
    out = y.reshape(b, down * OUTPUTS, across * OUTPUTS, o)[:, :height, :width]
    return _finished(out, bias, residual, relu)


def direct(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    relu: bool,
    products: str,
) -> Tensor:
    """The same by PyTorch's own convolution, whose float32 stays float32 wherever `products` asks for it."""
    x = _activated(features, scale, shift).permute(0, 3, 1, 2)
    # TensorFloat-32 keeps more bits than bfloat16, and fewer than float32.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=products == "bfloat16"):
        y = F.conv2d(x, weight, padding=1)
    return _finished(y.permute(0, 2, 3, 1), bias, residual, relu)


def _polynomial(roots: tuple[Fraction, ...] | list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        raised, lowered = [Fraction(0), *coefficients], [*(-root * c for c in coefficients), Fraction(0)]
        coefficients = [a + b for a, b in zip(raised, lowered)]
    return coefficients


def _both_axes(matrix: list[list[float]], x: Tensor) -> Tensor:
    """The matrix along the last axis but one, then along the last."""
    for dim in (-2, -1):
        # Not a matrix product: its zeros would make NaN of infinities that they have nothing to do with.
        rows = [sum(factor * x.select(dim, j) for j, factor in enumerate(row) if factor) for row in matrix]
        x = torch.stack([row for row in rows if isinstance(row, Tensor)], dim)
    return x


def _rounded(x: Tensor, products: str) -> Tensor:
    return x.to(torch.bfloat16).to(x.dtype) if products == "bfloat16" and x.dtype != torch.float64 else x


def _activated(features: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    return features if scale is None or shift is None else torch.relu(features * scale + shift)


def _finished(y: Tensor, bias: Tensor | None, residual: Tensor | None, relu: bool) -> Tensor:
    y = y if bias is None else y + bias
    y = torch.relu(y) if relu else y
    return y if residual is None else y + residual
