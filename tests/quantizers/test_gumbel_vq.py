"""Facts of Gumbel-softmax quantization: Jang et al. 2017, against torch's own Gumbel-softmax."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor
from unchecked import build_unchecked

from quantizers import Quantizer, build, gumbel_vq, lookup


def make(**parameters) -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build("gumbel_vq", **{"latent_channels": 3, "codebook_size": 7} | parameters)
        with torch.no_grad():
            quantizer.to_logits.weight.normal_()
        return quantizer


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def tokens(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, -2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_training_step_is_torchs_straight_through_gumbel_softmax(z, temperature, monkeypatch):
    quantizer = make(temperature=temperature)
    reference = z.clone().requires_grad_()
    logits = quantizer.to_logits(tokens(reference))
    wanted = [reference, *quantizer.parameters()]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one_hot = F.gumbel_softmax(logits, tau=temperature, hard=True)
        torch.manual_seed(5)
        noise = -torch.empty_like(logits).exponential_().log()  # as torch draws it
    monkeypatch.setattr(gumbel_vq, "_gumbel_like", lambda logits: noise)
    output = quantizer(z.requires_grad_())
    expected = one_hot @ quantizer.codebook
    assert torch.equal(output.indices.flatten(), one_hot.argmax(dim=1))
    torch.testing.assert_close(tokens(output.quantized), expected)
    expected = torch.autograd.grad(expected.sin().sum(), wanted)
    found = torch.autograd.grad(output.quantized.sin().sum(), [z, *quantizer.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_noise_has_the_gumbel_distribution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = gumbel_vq._gumbel_like(torch.empty(200, 1000)).double().flatten()
    assert noise.isfinite().all()
    assert stats.kstest(noise.numpy(), stats.gumbel_r.cdf).pvalue > 0.01
    largest = noise.view(1000, 200).amax(dim=1) - math.log(200)  # Gumbel distributed again
    assert stats.kstest(largest.numpy(), stats.gumbel_r.cdf).pvalue > 0.01


def test_the_largest_samples_are_no_multiples_of_a_coarse_step():
    """Of 2^24 values the samples above 9 would have 2,100 at most, and many of them equal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = torch.cat([gumbel_vq._gumbel_like(torch.empty(2048, 2048)) for _ in range(4)])
    largest = noise[noise > 9]
    assert len(largest) > 1900
    assert len(largest.unique()) > 0.99 * len(largest)


def test_an_odd_number_of_samples_is_drawn():
    assert gumbel_vq._gumbel_like(torch.empty(3, 5)).unique().shape == (15,)


def test_codes_are_drawn_with_the_probabilities_of_the_logits():
    quantizer = make(temperature=0.1)  # of the gradient alone
    z = torch.tensor([[0.3], [-0.2], [0.5]]).T.expand(20_000, 3)
    p = quantizer.to_logits(z[:1]).softmax(dim=1).detach()[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = quantizer(z).indices.flatten().bincount(minlength=7) / len(z)
    torch.testing.assert_close(drawn, p, rtol=0, atol=0.015)


def test_eval_takes_the_most_probable_code(z):
    quantizer = make().eval()
    output = quantizer(z)
    logits = tokens(z).double() @ quantizer.to_logits.weight.double().T
    logits += quantizer.to_logits.bias.double()
    assert torch.equal(output.indices.flatten(), logits.argmax(dim=1))
    assert torch.equal(quantizer(z).indices, output.indices)
    assert torch.equal(tokens(output.quantized), quantizer.codebook[output.indices.flatten()])


def test_training_draws_and_eval_does_not(z):
    quantizer = make()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(quantizer(z).indices, quantizer(z).indices)


def test_the_divergence_is_that_of_the_distribution_before_the_noise(z):
    quantizer = make(kl_weight=0.3, temperature=0.2)
    loss = quantizer(z.requires_grad_()).losses["kl"]
    latents = tokens(z.detach()).double().requires_grad_()
    weight, bias = quantizer.to_logits.weight.double(), quantizer.to_logits.bias.double()
    p = (latents @ weight.T + bias).softmax(dim=1)
    expected = 0.3 * (p * (7 * p).log()).sum(dim=1).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(loss, z)
    (wanted,) = torch.autograd.grad(expected, latents)
    torch.testing.assert_close(tokens(gradient).double(), wanted, rtol=1e-4, atol=1e-7)


def test_the_divergence_lies_between_zero_and_the_logarithm_of_v(z):
    quantizer = make(kl_weight=1.0)
    with torch.no_grad():
        quantizer.to_logits.weight.zero_()
        quantizer.to_logits.bias.zero_()
    assert float(quantizer(z).losses["kl"].detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        quantizer.to_logits.bias[3] = 100
    assert float(quantizer(z).losses["kl"].detach()) == pytest.approx(math.log(7))


def test_the_codebook_learns_from_the_output_alone(z):
    quantizer = make()
    output = quantizer(z)
    assert set(output.losses) == {"kl"}
    loss = output.losses["kl"]
    (gradient,) = torch.autograd.grad(loss, [quantizer.codebook], allow_unused=True)
    assert gradient is None
    output.quantized.sum().backward()
    counts = output.indices.flatten().bincount(minlength=7).float()
    torch.testing.assert_close(quantizer.codebook.grad, counts[:, None].expand(7, 3))


def test_defaults_and_start_values_are_those_of_the_released_code():
    parameters = inspect.signature(lookup("gumbel_vq")).parameters
    defaults = {key: parameters[key].default for key in parameters if key != "codebook_size"}
    assert defaults == {"latent_channels": 256, "temperature": 1.0, "kl_weight": 5e-4}
    codes = make(latent_channels=64, codebook_size=500).codebook.detach()
    assert abs(float(codes.mean())) < 0.02
    assert float(codes.var()) == pytest.approx(1, rel=0.03)
    assert float(codes.pow(4).mean()) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"kl_weight": -1.0}, "kl_weight must be .* got -1.0"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("gumbel_vq", **{"codebook_size": 4} | wrong)
