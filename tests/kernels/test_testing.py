"""The judge is judged: each wrong result must fail, each right one pass."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.kernels.testing import Guarded, compare, snapshot

REF = torch.linspace(-3, 3, 1000, dtype=torch.float64)


def _plain(dtype: torch.dtype) -> torch.Tensor:
    return REF.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_results_pass(dtype: torch.dtype) -> None:
    assert compare(_plain(dtype), _plain(dtype), REF).passed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_one_ulp_passes_and_forty_do_not(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    assert compare((REF * (1 + eps)).to(dtype), _plain(dtype), REF).passed
    assert not compare((REF * (1 + 40 * eps)).to(dtype), _plain(dtype), REF).passed


def test_one_wrong_element_fails_by_the_largest_error() -> None:
    wrong = _plain(torch.float32).clone()
    wrong[500] += 1e-3
    assert "largest" in compare(wrong, _plain(torch.float32), REF).reason


def test_a_small_error_everywhere_fails_by_the_rms() -> None:
    same = REF.clone()
    same[0] += 1.0
    verdict = compare(REF + 0.5, same, REF)
    assert not verdict.passed and "rms" in verdict.reason and "largest" not in verdict.reason


def test_the_reference_in_the_same_type_sets_the_scale() -> None:
    coarse = REF + 1e-2 * torch.sin(1e3 * REF)
    assert compare(REF - 1.5e-2 * torch.sin(1e3 * REF), coarse, REF).passed
    assert not compare(REF - 3e-2 * torch.sin(1e3 * REF), coarse, REF).passed


def test_not_a_number_where_a_number_belongs_fails() -> None:
    wrong = _plain(torch.float32).clone()
    wrong[3] = float("nan")
    assert not compare(wrong, _plain(torch.float32), REF).passed


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_must_stay_so(value: float) -> None:
    ref = REF.clone()
    ref[7] = value
    assert compare(ref.float(), ref.float(), ref).passed
    assert not compare(REF.float(), ref.float(), ref).passed


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_the_wrong_kind_of_not_finite_fails(value: float) -> None:
    ref, wrong = REF.clone(), REF.clone()
    ref[7], wrong[7] = value, float("-inf")
    assert not compare(wrong.float(), ref.float(), ref).passed


def test_an_overflow_of_the_plain_reference_allows_nothing() -> None:
    plain = torch.tensor([1.0, 1.0, float("inf")])
    assert not compare(torch.zeros(3), plain, torch.ones(3, dtype=torch.float64)).passed
    assert compare(torch.ones(3), plain, torch.ones(3, dtype=torch.float64)).passed


def test_wrong_shape_or_type_fails() -> None:
    plain = _plain(torch.float32)
    assert "shape" in compare(plain[1:], plain, REF).reason
    assert "type" in compare(plain.half(), plain, REF).reason
    assert "reference" in compare(plain, plain, REF.float()).reason


def test_integers_must_be_equal_when_the_reference_is_exact() -> None:
    ref = torch.arange(10, dtype=torch.uint8)
    wrong = ref.clone()
    wrong[9] = 8
    assert compare(ref, ref, ref.double()).passed
    assert not compare(wrong, ref, ref.double()).passed


def test_an_empty_result_passes() -> None:
    empty = torch.zeros(0, 3)
    assert compare(empty, empty, empty.double()).passed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_guarded_memory_is_poisoned_and_sees_trespass(dtype: torch.dtype) -> None:
    out = Guarded((2, 3), dtype)
    if dtype.is_floating_point:
        assert bool(out.tensor.isnan().all())
    out.tensor.fill_(1)
    assert out.trespass() == 0
    after = torch.as_strided(out.tensor, (1,), (1,), out.tensor.storage_offset() + 6)
    after.fill_(1)
    assert out.trespass() > 0


def test_snapshot_sees_one_changed_bit() -> None:
    x = torch.zeros(4)
    before = snapshot((x, "not a tensor"))
    assert snapshot((x,)) == before
    x[2] = -0.0
    assert snapshot((x,)) != before
