"""Facts of the KL-regularised Gaussian latent: Kingma and Welling 2014, Latent Diffusion 2022."""

import inspect
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from unchecked import build_unchecked

from quantizers import Quantizer, build, lookup


def make(**parameters) -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build("kl", **{"latent_channels": 3} | parameters)
        with torch.no_grad():
            quantizer.to_log_variance.weight.normal_()
            quantizer.to_log_variance.bias.normal_()
        return quantizer


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def tokens(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, -2)


def log_variance(quantizer: Quantizer, mean: Tensor) -> Tensor:
    weight, bias = quantizer.to_log_variance.weight, quantizer.to_log_variance.bias
    return mean.double() @ weight.double().T + bias.double()


def test_training_emits_mean_plus_deviation_times_noise_and_its_gradient(z):
    quantizer = make()
    wanted = [z.requires_grad_(), *quantizer.parameters()]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        output = quantizer(z)
        torch.manual_seed(3)
        noise = tokens(torch.randn_like(z.movedim(1, -1)).movedim(-1, 1)).double()
    mean = tokens(z).double()
    expected = mean + (log_variance(quantizer, mean) / 2).exp() * noise
    found = tokens(output.quantized).double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # float32
    found = torch.autograd.grad(output.quantized.sin().sum(), wanted)
    gradients = torch.autograd.grad(expected.sin().sum(), wanted)
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-5)


def test_eval_emits_the_mean_as_the_control_without_noise_does(z):
    kl, none = make().eval(), build("none", latent_channels=3).eval()
    assert torch.equal(kl(z).quantized, none(z).quantized)
    assert torch.equal(kl(z).indices, none(z).indices)


def test_training_draws_anew_and_eval_does_not(z):
    quantizer = make()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(quantizer(z).quantized, quantizer(z).quantized)
        quantizer.eval()
        assert torch.equal(quantizer(z).quantized, quantizer(z).quantized)


def test_the_noise_is_normal_with_the_learned_deviation_of_each_channel():
    quantizer = build("kl", latent_channels=3)
    deviations = torch.tensor([0.1, 1.0, 4.0])
    with torch.no_grad():
        quantizer.to_log_variance.bias.copy_(deviations.square().log())
    mean = torch.tensor([3.0, -1.0, 0.0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = quantizer(mean.repeat(20_000, 1)).quantized - mean
    noise = noise.detach() / deviations
    torch.testing.assert_close(noise.mean(dim=0), torch.zeros(3), rtol=0, atol=0.03)
    torch.testing.assert_close(noise.std(dim=0), torch.ones(3), rtol=0.03, atol=0)
    torch.testing.assert_close(noise.T.corrcoef(), torch.eye(3), rtol=0, atol=0.03)
    torch.testing.assert_close(noise.pow(4).mean(dim=0), torch.full((3,), 3.0), rtol=0.1, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_divergence_from_the_standard_normal(z, training):
    quantizer = make(kl_weight=0.3).train(training)
    wanted = [z.requires_grad_(), *quantizer.parameters()]
    with torch.random.fork_rng():
        losses = quantizer(z).losses
    assert set(losses) == {"kl"}
    mean = tokens(z).double()
    posterior = Normal(mean, (log_variance(quantizer, mean) / 2).exp())
    expected = 0.3 * kl_divergence(posterior, Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(losses["kl"].double(), expected)
    found = torch.autograd.grad(losses["kl"], wanted)
    gradients = torch.autograd.grad(expected, wanted)
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-7)


def test_the_loss_of_an_empty_batch_is_zero():
    assert float(make()(torch.zeros(0, 3, 2)).losses["kl"].detach()) == 0.0


def test_the_noise_starts_as_that_of_the_prior_whatever_the_latent(z):
    quantizer = build("kl", latent_channels=3, kl_weight=1.0)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        noise = (quantizer(100 * z).quantized - 100 * z).detach()
    assert float(noise.std()) == pytest.approx(1, abs=0.2)
    zero = torch.zeros_like(z)
    with torch.random.fork_rng():
        assert float(quantizer(zero).losses["kl"].detach()) == 0.0


@pytest.mark.parametrize(("bias", "bound"), [(1e3, 20.0), (-1e3, -30.0)])
def test_an_absurd_log_variance_is_held_within_its_bounds(bias, bound):
    quantizer = build("kl", latent_channels=2, kl_weight=1.0)
    with torch.no_grad():
        quantizer.to_log_variance.bias.fill_(bias)
    output = quantizer.eval()(torch.zeros(1, 2))
    expected = (math.exp(bound) - 1 - bound) / 2
    assert float(output.losses["kl"].detach()) == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(output.losses["kl"], [quantizer.to_log_variance.bias])
    assert not gradient.any()


def test_it_is_a_control_of_infinite_rate_without_indices(z):
    quantizer = make().eval()
    assert lookup("kl").control.startswith("upper bound")
    assert quantizer.bits_per_position == math.inf
    indices = quantizer(z).indices
    assert indices.shape == (4, 0, 5, 2)
    with pytest.raises(TypeError, match="'kl' has no codes"):
        quantizer.dequantize(indices)


def test_the_log_variance_counts_among_the_parameters_and_the_weight_is_the_published_one():
    quantizer = build("kl")
    assert sum(p.numel() for p in quantizer.parameters()) == 8 * 8 + 8
    assert inspect.signature(lookup("kl")).parameters["kl_weight"].default == 1e-6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"kl_weight": -1.0}, "kl_weight must be .* got -1.0"),
        ({"kl_weight": math.nan}, "kl_weight must be .* got nan"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("kl", **wrong)
