"""The shared losses against their formulas, and their limits."""

import math

import pytest
import torch
from torch import Tensor

from quantizers.parts.losses import (
    check_entropy_losses,
    check_temperature,
    check_weight,
    codebook_losses,
    commitment_loss,
    entropy_losses,
    mean_square,
)


def normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_codebook_and_commitment_loss_move_one_side_each():
    u, code = normal(9, 4, seed=0).requires_grad_(), normal(9, 4, seed=1).requires_grad_()
    losses, error = codebook_losses(u, code, commitment_weight=0.3), (code - u).detach()
    assert set(losses) == {"codebook", "commitment"}
    torch.testing.assert_close(losses["codebook"], error.square().mean())
    torch.testing.assert_close(losses["commitment"], 0.3 * error.square().mean())
    at_u, at_code = torch.autograd.grad(sum(losses.values()), (u, code))
    torch.testing.assert_close(at_code, 2 * error / 36)
    torch.testing.assert_close(at_u, -0.3 * 2 * error / 36)


def test_the_commitment_loss_alone_is_that_of_both():
    u, code = normal(9, 4, seed=0), normal(9, 4, seed=1)
    both = codebook_losses(u, code, commitment_weight=0.3)
    assert torch.equal(commitment_loss(u, code, commitment_weight=0.3), both["commitment"])


def test_entropy_losses_have_their_signs_and_weights():
    entropies = torch.tensor(0.5), torch.tensor(2.0)
    losses = entropy_losses(entropies, entropy_weight=0.1, diversity_weight=3.0)
    assert set(losses) == {"token_entropy", "batch_entropy"}
    torch.testing.assert_close(losses["token_entropy"], torch.tensor(0.05))
    torch.testing.assert_close(losses["batch_entropy"], torch.tensor(-0.6))
    default = entropy_losses(entropies, entropy_weight=0.1)
    torch.testing.assert_close(default["batch_entropy"], torch.tensor(-0.2))


def test_the_mean_of_no_square_is_zero_with_a_gradient():
    nothing = torch.zeros(0, 3).requires_grad_()
    mean = mean_square(nothing, torch.zeros(0, 3))
    mean.backward()
    assert float(mean.detach()) == 0
    assert nothing.grad.shape == (0, 3)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match=f"beta must be finite and not negative, got {weight}"):
        check_weight("beta", weight)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match=f"finite and above 0, got {temperature}"):
        check_temperature(temperature)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"diversity_weight": -1.0}, "diversity_weight must be .* got -1.0"),
        ({"temperature": 0.0}, "temperature must be .* got 0.0"),
        ({"codes": 2**24 + 1}, r"at most 2\^24 codes, got 16777217; entropy_weight=0 leaves"),
        ({"codes": 2**30, "remedy": "take fewer"}, "got 1073741824; take fewer"),
    ],
)
def test_entropy_losses_that_cannot_be_computed_are_refused(wrong, message):
    right = {"entropy_weight": 0.1, "diversity_weight": 1.0, "temperature": 1.0, "codes": 2**24}
    check_entropy_losses(**right)
    with pytest.raises(ValueError, match=message):
        check_entropy_losses(**right | wrong)


def test_without_weight_any_number_of_codes_is_allowed():
    check_entropy_losses(entropy_weight=0.0, diversity_weight=1.0, temperature=1.0, codes=2**60)
