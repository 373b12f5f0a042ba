"""The short forms of weights and moments, and an Adam that lives on them."""

from __future__ import annotations

import math

import pytest
import torch

from eamfmeg_fast.config import preset
from eamfmeg_fast.train.adam import ShortAdam
from eamfmeg_fast.train.parts import fresh_network, part_of
from eamfmeg_fast.train.rounding import dither, joined, shortened, split, trimmed

CPU = torch.device("cpu")


def numbers(count: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    scale = 10.0 ** torch.randint(-20, 10, (count,), generator=generator)
    return torch.cat([torch.randn(count, generator=generator) * scale, torch.tensor([0.0, -0.0, 1.0, -1.0])])


def test_a_trimmed_number_comes_back_from_its_two_halves() -> None:
    x = numbers()
    short = trimmed(x)
    assert ((short - x).abs() <= x.abs() * 2.0**-16).all() and not torch.equal(short, x)
    high, low = split(short)
    assert (high.dtype, low.dtype) == (torch.bfloat16, torch.uint8)
    assert torch.equal(joined(high, low), short)
    assert not torch.equal(joined(high, torch.zeros_like(low)), short)
    assert torch.equal(trimmed(short), short) and torch.equal(trimmed(short, dither(len(x), 5, CPU)), short)


@pytest.mark.parametrize("value", [1.003, -0.3337, 3e-12])
def test_rounding_keeps_the_mean(value: float) -> None:
    count = 200_000
    x = torch.full((count,), value)
    bits = dither(count, 7, CPU)
    for short, step in ((shortened(x, bits).float(), 2.0**-7), (trimmed(x, bits), 2.0**-15)):
        assert len(short.unique()) == 2
        assert float((short - x).abs().max()) <= abs(value) * step
        # Four standard deviations of the mean of numbers that are one step apart at most.
        assert abs(float(short.double().mean()) - float(x[0])) < 4 * abs(value) * step / math.sqrt(4 * count)


def test_the_dither_is_decided_by_its_seed() -> None:
    assert torch.equal(dither(50, 1, CPU), dither(50, 1, CPU)) and not torch.equal(
        dither(50, 1, CPU), dither(50, 2, CPU)
    )
    bits = dither(100_000, 1, CPU)
    for shift in range(32):
        assert abs(float(((bits >> shift) & 1).float().mean()) - 0.5) < 0.01, shift


def test_it_is_adam_but_for_the_rounding() -> None:
    torch.manual_seed(4)
    network, plain = (fresh_network(preset("small"), CPU) for _ in range(2))
    plain.load_state_dict(network.state_dict())
    short, adam = ShortAdam(network, 1), torch.optim.Adam(plain.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(5)
    begin = [parameter.detach().clone() for parameter in network.parameters()]
    for _ in range(20):
        short.forget_gradients()
        for a, b in zip(network.parameters(), plain.parameters(), strict=True):
            a.grad = 1e-3 * torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        gradients = {part: moments.gradient() for part, moments in short.parts.items()}
        short.step(gradients, {"front": 1e-3, "decoder": 1e-3}, longest=1e9)
        adam.step()
    for start, a, b in zip(begin, network.parameters(), plain.parameters(), strict=True):
        assert float((a - b).detach().abs().max()) < 0.05 * float((b - start).detach().abs().max())


def test_a_moment_that_fades_fades() -> None:
    """By a thousandth a step, which is less than half of what bfloat16 can tell apart."""
    network = fresh_network(preset("small"), CPU)
    moments = ShortAdam(network, 1).parts["decoder"]
    moments.square.fill_(1.0)
    for _ in range(100):
        moments.step(torch.zeros(moments.mean.numel()), 0.0, seed=1)
    assert float(moments.square.float().mean()) == pytest.approx(0.999**100, rel=2e-3)


def test_gradients_are_cut_together_and_nothing_moves_by_what_is_no_number() -> None:
    network = fresh_network(preset("small"), CPU)
    optimiser = ShortAdam(network, 1)
    ones = {part: torch.ones(moments.mean.numel()) for part, moments in optimiser.parts.items()}
    count = sum(len(gradient) for gradient in ones.values())
    assert optimiser.step(ones, {"front": 0.0, "decoder": 0.0}, longest=2.0) == pytest.approx(math.sqrt(count))
    for moments in optimiser.parts.values():
        assert float(moments.mean.float().mean()) == pytest.approx(0.1 * 2 / math.sqrt(count), rel=1e-3)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    ones["front"][7] = math.inf
    assert not math.isfinite(optimiser.step(ones, {"front": 1.0, "decoder": 1.0}, longest=2.0))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert {moments.count for moments in optimiser.parts.values()} == {1}


def test_every_parameter_is_of_one_part() -> None:
    network = fresh_network(preset("small"), CPU)
    parts = ShortAdam(network, 1).parts
    named = [name for moments in parts.values() for name in moments.names]
    assert sorted(named) == sorted(name for name, _ in network.named_parameters())
    assert part_of("generator.dense_motion_network.mask") == "front" and part_of("generator.final") == "decoder"
    assert part_of("attention_module.gamma") == "decoder" and part_of("kp_detector") == "front"
