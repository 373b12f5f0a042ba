"""The 16-bit numbers of csrc/host_shim, held against numpy's and against exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np


def _narrowed(kernels: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    halves, bfloats = np.zeros(len(values), np.uint16), np.zeros(len(values), np.uint16)
    assert kernels("narrow", halves, bfloats, values, len(values)) == 0
    return halves, bfloats


def test_all_16_bit_numbers_survive_being_widened(forward: Any) -> None:
    patterns = np.arange(1 << 16).astype(np.uint16)
    from_half, from_bfloat16 = np.zeros(1 << 16, np.float32), np.zeros(1 << 16, np.float32)
    assert forward("widen", from_half, from_bfloat16) == 0
    np.testing.assert_array_equal(from_half, patterns.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(from_bfloat16, (patterns.astype(np.uint32) << 16).view(np.float32))
    halves, bfloats = _narrowed(forward, from_half)[0], _narrowed(forward, from_bfloat16)[1]
    np.testing.assert_array_equal(halves, np.where(np.isnan(from_half), 0x7FFF, patterns))
    np.testing.assert_array_equal(bfloats, np.where(np.isnan(from_bfloat16), 0x7FFF, patterns))


def test_narrowing_rounds_to_nearest_even(forward: Any) -> None:
    """All ties between neighbours, what lies just beside them, and numbers at random."""
    patterns = np.arange(0x7C00).astype(np.uint16)
    wide = patterns.view(np.float16).astype(np.float64)
    ties = ((wide + np.append(wide[1:], 65536.0)) / 2).astype(np.float32)
    beside = [np.nextafter(ties, np.float32(direction)) for direction in (0, np.inf)]
    noise = np.random.default_rng(2).integers(0, 1 << 32, 40_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = np.concatenate([ties, *beside, -ties, noise[np.isfinite(noise)]])
    halves, bfloats = _narrowed(forward, values)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(halves, values.astype(np.float16).view(np.uint16))
    assert bfloats[len(ties) :].any()
    np.testing.assert_array_equal(bfloats, _bfloat16(values))


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The nearer of the two neighbours, the even one where both are as near; finite values only."""
    below = (values.view(np.uint32) >> 16).astype(np.uint32)
    low, high = (((below + step) << 16).view(np.float32).astype(np.float64) for step in (0, 1))
    high = np.where(np.isinf(high), np.sign(high) * 2.0**128, high)
    to_low, to_high = np.abs(values - low), np.abs(high - values)
    return (below + ((to_high < to_low) | ((to_high == to_low) & (below % 2 == 1)))).astype(np.uint16)


@np.errstate(invalid="ignore")
def test_fused_multiply_add_rounds_once(forward: Any) -> None:
    patterns = np.random.default_rng(3).integers(0, 1 << 16, (512, 3)).astype(np.uint16)
    # The product lies midway between two neighbours and the summand is a hair: rounded to float first, it is lost.
    patterns[0] = np.array([1.5, 683 / 1024, 2**-24], np.float16).view(np.uint16)
    patterns[1] = np.array([7, 37 / 256, -(2**-60)], np.float32).view(np.uint32) >> 16
    halves, bfloats = np.zeros(512, np.uint16), np.zeros(512, np.uint16)
    assert forward("multiply_add", halves, bfloats, patterns, 2) == 0
    assert (halves[0], bfloats[1]) == (0x3C01, 0x3F81)
    for out, widen in ((halves, _widen_half), (bfloats, _widen_bfloat16)):
        a, b, c = widen(patterns).T
        exact, own = a * b + c, widen(out)
        sane = np.isfinite(exact) & np.isfinite(own)
        assert sane.sum() > 200
        for by in (-1, 1):
            other = widen(_step(out, by))
            compare = sane & np.isfinite(other)
            assert (np.abs(own - exact)[compare] <= np.abs(other - exact)[compare]).all()


def _widen_half(patterns: np.ndarray) -> np.ndarray:
    return patterns.view(np.float16).astype(np.longdouble)


def _widen_bfloat16(patterns: np.ndarray) -> np.ndarray:
    return (patterns.astype(np.uint32) << 16).view(np.float32).astype(np.longdouble)


def _step(patterns: np.ndarray, by: int) -> np.ndarray:
    magnitude = (patterns & 0x7FFF).astype(np.int64) + by
    return np.where(magnitude < 0, patterns, (patterns & 0x8000) | magnitude).astype(np.uint16)
