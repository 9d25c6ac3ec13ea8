"""Facts of Learnable Geometric Quantization: Altun et al. 2026 and the released code."""

import inspect
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from unchecked import build_unchecked

from quantizers import Quantizer, build, lookup
from quantizers.parts import processes


def make(**parameters) -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("lgq", **{"latent_channels": 3, "codebook_size": 7} | parameters)


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def tokens(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, -2)


def soft_codes(quantizer: Quantizer, latents: Tensor, codebook: Tensor) -> Tensor:
    """By enumeration in float64."""
    squares = (latents[:, None] - codebook).square().sum(dim=2)
    return (-squares / quantizer.temperature).softmax(dim=1)


def probabilities(quantizer: Quantizer, latents: Tensor) -> Tensor:
    """The soft code of each token: a batch of one token has it as its usage."""
    return torch.stack([quantizer._soft_codes(latent[None])[1][1] for latent in latents])


def float64(quantizer: Quantizer, z: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and codes as leaves in float64."""
    latents = tokens(z.detach()).double().requires_grad_()
    return latents, quantizer.codebook.detach().double().requires_grad_()


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_the_nearest_code_has_the_gradient_of_the_mean_code(z, temperature):
    quantizer = make(temperature=temperature)
    output = quantizer(z.requires_grad_())
    latents, codes = float64(quantizer, z)
    assert torch.equal(output.indices.flatten(), torch.cdist(latents, codes).argmin(dim=1))
    assert torch.equal(tokens(output.quantized), quantizer.codebook[output.indices.flatten()])
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    mean = soft_codes(quantizer, latents, codes) @ codes
    expected = torch.autograd.grad(mean, [latents, codes], tokens(upstream).double())
    found = torch.autograd.grad(output.quantized, [z, quantizer.codebook], upstream)
    torch.testing.assert_close(tokens(found[0]).double(), expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-4, atol=1e-5)


def test_a_soft_code_is_the_posterior_of_a_gaussian_mixture(z):
    quantizer = make(temperature=0.7)
    latents, codes = float64(quantizer, z)
    components = MultivariateNormal(codes, 0.7 / 2 * torch.eye(3, dtype=torch.float64))
    mixture = MixtureSameFamily(Categorical(torch.ones(7, dtype=torch.float64)), components)
    joint = components.log_prob(latents[:, None]) - math.log(7)
    posterior = (joint - mixture.log_prob(latents)[:, None]).exp()
    found = probabilities(quantizer, tokens(z)).double()
    torch.testing.assert_close(found, posterior, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("training", [True, False])
def test_losses_and_their_gradients_equal_enumeration(z, training):
    quantizer = make(temperature=2.0, peakedness_weight=0.3, usage_weight=0.2).train(training)
    output = quantizer(z.requires_grad_())
    latents, codes = float64(quantizer, z)
    p = soft_codes(quantizer, latents, codes)
    mean = p @ codes
    quantized = mean + (codes[output.indices.flatten()] - mean).detach()
    expected = {
        "quantization": (quantized - latents).square().mean(),
        "peakedness": 0.3 * (1 - p.square().sum(dim=1)).mean(),
        "usage": 0.2 * 7 * p.mean(dim=0).square().sum(),
    }
    assert output.losses.keys() == expected.keys()
    for name, value in expected.items():
        loss = output.losses[name]
        torch.testing.assert_close(loss.double(), value, rtol=1e-5, atol=1e-7)
        found = torch.autograd.grad(loss, [z, quantizer.codebook], retain_graph=True)
        wanted = torch.autograd.grad(value, [latents, codes], retain_graph=True)
        torch.testing.assert_close(tokens(found[0]).double(), wanted[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-4, atol=1e-6)


def test_in_the_limit_of_low_temperature_it_is_vq(z):
    """The one loss has the gradients of VQ's two with beta = 1; only the output's is not VQ's."""
    limit = make(temperature=1e-4)
    vq = build("vq", latent_channels=3, codebook_size=7, commitment_weight=1.0)
    vq.load_state_dict({"codebook": limit.codebook.detach()})
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    outputs = [limit(latents[0]), vq(latents[1])]
    assert torch.equal(outputs[0].indices, outputs[1].indices)
    assert torch.equal(outputs[0].quantized, outputs[1].quantized)
    assert float(outputs[0].losses["peakedness"].detach()) == pytest.approx(0, abs=1e-6)
    found = torch.autograd.grad(
        outputs[0].losses["quantization"], [latents[0], limit.codebook], retain_graph=True
    )
    expected = torch.autograd.grad(sum(outputs[1].losses.values()), [latents[1], vq.codebook])
    torch.testing.assert_close(found, expected)
    reached = torch.autograd.grad(outputs[0].quantized.sum(), latents[0])
    torch.testing.assert_close(reached[0], torch.zeros_like(z), rtol=0, atol=1e-3)


def test_peakedness_and_usage_have_their_extremes_where_the_paper_wants_them():
    quantizer = make(latent_channels=2, codebook_size=4, peakedness_weight=1.0, usage_weight=1.0)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    quantizer.load_state_dict({"codebook": 10 * corners, "started": torch.tensor(True)})
    certain_and_balanced = quantizer(10 * corners).losses
    assert float(certain_and_balanced["peakedness"].detach()) == pytest.approx(0, abs=1e-6)
    assert float(certain_and_balanced["usage"].detach()) == pytest.approx(1)
    collapsed = quantizer(10 * corners[:1].repeat(9, 1)).losses
    assert float(collapsed["peakedness"].detach()) == pytest.approx(0, abs=1e-6)
    assert float(collapsed["usage"].detach()) == pytest.approx(4)
    uncertain = quantizer(torch.zeros(5, 2)).losses
    assert float(uncertain["peakedness"].detach()) == pytest.approx(3 / 4)
    assert float(uncertain["usage"].detach()) == pytest.approx(1)


def test_soft_codes_keep_their_digits_far_from_the_origin(z):
    near, far = make(), make()
    latents = (tokens(z) * 64).round() / 64  # exact in float32 after the shift
    with torch.no_grad():
        near.codebook.copy_((near.codebook * 64).round() / 64)
        far.codebook.copy_(near.codebook + 4096)
    torch.testing.assert_close(
        probabilities(far, latents + 4096), probabilities(near, latents), rtol=1e-3, atol=1e-5
    )


def test_a_state_that_has_started_is_left_alone(z):
    quantizer = make(codebook_size=20).train()
    quantizer.load_state_dict(quantizer.state_dict() | {"started": torch.tensor(True)})
    codes = quantizer.codebook.detach().clone()
    quantizer(z)
    quantizer.update()
    assert torch.equal(quantizer.codebook, codes)


def test_a_loaded_start_is_a_start_again(z):
    quantizer = make(codebook_size=20).train()
    start = {name: value.clone() for name, value in quantizer.state_dict().items()}
    for offset in (0, 50):
        quantizer.load_state_dict(start)
        quantizer(z + offset)
        quantizer.update()
        assert quantizer.started
    assert quantizer.codebook.detach().mean() > 30


def test_the_first_update_moves_every_code_to_a_latent_of_its_own(z):
    quantizer = make(codebook_size=20)
    quantizer.eval()(z)
    before = quantizer.codebook.clone()
    quantizer.update()
    assert torch.equal(quantizer.codebook, before)
    assert not quantizer.started
    quantizer.train()(z)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer.update()
    equal = (quantizer.codebook[:, None] == tokens(z)).all(dim=2)
    assert (equal.sum(dim=1) == 1).all()
    assert (equal.sum(dim=0) <= 1).all()
    assert not torch.equal(quantizer.codebook, tokens(z)[:20])  # drawn, not the first
    after = quantizer.codebook.clone()
    quantizer(z + 1)
    quantizer.update()
    assert torch.equal(quantizer.codebook, after)
    assert len(quantizer.start.latents) == 0


def test_with_more_codes_than_latents_copies_are_told_apart_by_a_little_noise(z):
    quantizer = make(codebook_size=100)
    quantizer(z)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer.update()
    distances = torch.cdist(quantizer.codebook, tokens(z))
    assert (distances.argmin(dim=1).bincount(minlength=40) >= 2).all()
    nearest = distances.amin(dim=1)
    assert (nearest > 0).all()
    assert float(nearest.detach().square().mean().sqrt()) == pytest.approx(0.01 * 3**0.5, rel=0.2)


def test_a_restored_quantizer_does_not_start_again(z):
    trained, other = make(), make()
    trained(z)
    with torch.random.fork_rng():
        trained.update()
    other.load_state_dict(trained.state_dict())
    other(2 * z)
    other.update()
    assert torch.equal(other.codebook, trained.codebook)


def test_usage_is_that_of_the_batches_of_all_processes(z, monkeypatch):
    quantizer, whole = make(), make()
    peer, own = z[:1], z[1:]
    p = probabilities(quantizer, tokens(peer)).detach()
    theirs = torch.cat([p.sum(dim=0), torch.tensor([float(len(p))])])
    expected = whole(z).losses["usage"]
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    monkeypatch.setattr(processes, "sum_over_processes", lambda value: value + theirs)
    torch.testing.assert_close(quantizer(own).losses["usage"], expected)
    monkeypatch.setattr(processes, "sum_over_processes", pytest.fail)  # no collective in eval
    quantizer.eval()(own)


def test_defaults_and_start_values_are_those_of_the_released_code():
    parameters = inspect.signature(lookup("lgq")).parameters
    defaults = {key: parameters[key].default for key in parameters if key != "codebook_size"}
    assert defaults == {
        "latent_channels": 64,
        "temperature": 1.0,
        "peakedness_weight": 0.005,
        "usage_weight": 0.005,
    }
    codes = make(latent_channels=64, codebook_size=500).codebook.detach()
    assert abs(float(codes.mean())) < 0.02
    assert float(codes.var()) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be .* got 0.0"),
        ({"temperature": math.inf}, "temperature must be .* got inf"),
        ({"peakedness_weight": -1.0}, "peakedness_weight must be .* got -1.0"),
        ({"usage_weight": math.nan}, "usage_weight must be .* got nan"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("lgq", **{"codebook_size": 4} | wrong)
