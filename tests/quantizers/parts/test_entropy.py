"""The factorised entropies against an enumeration of all 2^K codes in float64."""

import math

import pytest
import torch
from torch import Tensor

from quantizers.parts.entropy import bit_entropies, level_entropies, soft_code_entropies


@pytest.mark.parametrize("bits", range(1, 13))
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_both_entropies_and_gradients_equal_an_enumeration(bits, spread):
    expected_logits = _logits(50, bits, spread).requires_grad_()
    logits = expected_logits.detach().clone().requires_grad_()
    pairs = zip(bit_entropies(logits), _enumerated(expected_logits), strict=True)
    for entropy, expected in pairs:
        torch.testing.assert_close(entropy, expected, rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(entropy, logits, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, expected_logits, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def test_float32_keeps_six_digits():
    logits = _logits(200, 10, 2.0)
    for entropy, expected in zip(bit_entropies(logits.float()), _enumerated(logits), strict=True):
        torch.testing.assert_close(entropy.double(), expected, rtol=2e-6, atol=0)


def test_improbable_bits_keep_their_digits_in_float32():
    logits = torch.full((10, 3), 12.0, dtype=torch.float64)
    per_token, _ = bit_entropies(logits.float())
    torch.testing.assert_close(per_token.double(), _enumerated(logits)[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("bits", [1, 2, 5, 18])
@pytest.mark.parametrize("spread", [0.0, 0.5, 50.0])
def test_entropies_are_ordered_and_bounded(bits, spread):
    per_token, of_batch = bit_entropies(_logits(40, bits, spread))
    assert -1e-12 <= per_token <= of_batch + 1e-12
    assert of_batch <= bits * math.log(2) + 1e-12


def test_undecided_bits_have_full_entropy():
    for entropy in bit_entropies(torch.zeros(7, 9, dtype=torch.float64)):
        assert float(entropy) == pytest.approx(9 * math.log(2), abs=1e-12)


def test_a_bit_that_repeats_another_adds_no_entropy_to_the_batch():
    """Two equal bits carry one bit; their marginals would say two."""
    one = torch.tensor([[1e4], [-1e4]], dtype=torch.float64)
    per_token, of_batch = bit_entropies(one.repeat(3, 2))
    assert float(per_token) == pytest.approx(0, abs=1e-12)
    assert float(of_batch) == pytest.approx(math.log(2), abs=1e-12)
    marginals = sum(bit_entropies(one)[1] for _ in range(2))
    assert float(marginals) == pytest.approx(2 * math.log(2), abs=1e-12)


def test_independent_bits_add_their_entropies():
    logits = torch.tensor([[1e4, 1e4], [1e4, -1e4], [-1e4, 1e4], [-1e4, -1e4]])
    assert float(bit_entropies(logits)[1]) == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("size", [50.0, 90.0, 104.0, 1e4, 1e30])
def test_saturated_bits_stay_finite_in_float32(size):
    logits = size * torch.randn(64, 8, generator=torch.Generator().manual_seed(0)).sign()
    logits.requires_grad_()
    per_token, of_batch = bit_entropies(logits)
    assert per_token.isfinite()
    assert of_batch.isfinite()
    (per_token - of_batch).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_explicit_codes_of_a_cube_have_the_entropies_of_their_bits(bits):
    logits = _logits(40, bits, 2.0).requires_grad_()
    codes = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5]).double()] * bits)
    codebook = codes.view(1, 2**bits, bits)  # -|u - code|^2 / 2 is <u, code> up to a constant
    explicit = soft_code_entropies(logits[:, None], codebook, temperature=2.0)
    for entropy, expected in zip(explicit, bit_entropies(logits), strict=True):
        torch.testing.assert_close(entropy, expected, rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(entropy, logits, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, logits, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "levels", [(5,), (3, 4), (8, 5, 5), (2, 7, 3, 2), (1, 6), (17, 2, 2, 2)], ids=str
)
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_entropies_of_levels_and_gradients_equal_an_enumeration(levels, spread):
    columns = [_logits(50, size, spread).requires_grad_() for size in levels]
    joint = [log_p.log_softmax(dim=1) for log_p in columns]
    log_p = joint[0]
    for channel in joint[1:]:
        log_p = (log_p[:, :, None] + channel[:, None, :]).flatten(1)
    mean = log_p.exp().mean(dim=0)
    enumerated = -(log_p.exp() * log_p).sum(dim=1).mean(), -torch.xlogy(mean, mean).sum()
    for entropy, expected in zip(level_entropies(columns), enumerated, strict=True):
        torch.testing.assert_close(entropy, expected, rtol=1e-12, atol=1e-12)
        gradients = torch.autograd.grad(entropy, columns, retain_graph=True)
        expected_gradients = torch.autograd.grad(expected, columns, retain_graph=True)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-10, atol=1e-12)


def test_two_levels_are_a_bit():
    logits = _logits(60, 7, 3.0)
    zero = torch.zeros(60, dtype=torch.float64)
    levels = [torch.stack([zero, logit], dim=1) for logit in logits.unbind(dim=1)]
    torch.testing.assert_close(level_entropies(levels), bit_entropies(logits), rtol=1e-12, atol=0)


def test_no_token_has_no_entropy_and_a_zero_gradient():
    logits = torch.zeros(0, 5).requires_grad_()
    codes = torch.eye(5)[None]
    explicit = soft_code_entropies(logits[:, None], codes, temperature=1.0)
    for entropy in (*bit_entropies(logits), *explicit):
        assert float(entropy.detach()) == 0
        (gradient,) = torch.autograd.grad(entropy, logits, retain_graph=True)
        assert gradient.shape == (0, 5)


def test_levels_of_no_token_have_no_entropy():
    assert [float(entropy) for entropy in level_entropies([torch.zeros(0, 3)] * 2)] == [0, 0]


@pytest.mark.parametrize("size", [50.0, 104.0, 1e4, 1e30])
def test_saturated_levels_stay_finite_in_float32(size):
    columns = [size * torch.randn(64, 5, requires_grad=True) for _ in range(3)]
    per_token, of_batch = level_entropies(columns)
    for gradient in torch.autograd.grad(per_token - of_batch, columns):
        assert gradient.isfinite().all()


def _logits(tokens: int, bits: int, spread: float) -> Tensor:
    generator = torch.Generator().manual_seed(tokens + bits)
    return spread * torch.randn(tokens, bits, generator=generator, dtype=torch.float64)


def _enumerated(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same two entropies from the (tokens, 2^K) matrix of log-probabilities."""
    bits = logits.shape[1]
    codes = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * bits)
    scores = logits @ codes.view(2**bits, bits).T / 2
    log_p = scores.log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    return -(log_p.exp() * log_p).sum(dim=1).mean(), -torch.xlogy(mean, mean).sum()
