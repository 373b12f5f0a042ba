"""What is special about identity: its gradient, its memory, its fallback."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.kernels import registration
from eamfmeg_fast.kernels.identity import OP, identity


def test_the_result_shares_no_memory() -> None:
    x = torch.ones(1, 2, 2, 3)
    y = identity(x)
    x.zero_()
    assert bool((y == 1).all())


def test_gradient_is_passed_through() -> None:
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(identity, (x,))


def test_runs_in_plain_pytorch_without_the_compiled_library(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 3, 4, 5).permute(0, 2, 3, 1)
    monkeypatch.setattr(registration, "why_missing", lambda name: "not built")
    assert torch.equal(identity(x), x)


def test_threads_give_the_same_bytes() -> None:
    if reason := OP.rooms["cpu"].missing():
        pytest.skip(f"NOT RUN: {reason}")
    x = torch.randn(1, 64, 64, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = identity(x)
        torch.set_num_threads(2)
        assert torch.equal(identity(x), one)
    finally:
        torch.set_num_threads(before)
