"""Facts of LFQ: Yu et al. 2024, section 3.1, with the entropies of all 2^K codes."""

import math

import pytest
import torch
from unchecked import build_unchecked

from quantizers import build


@pytest.fixture
def z():
    return torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))


def test_every_channel_becomes_its_sign(z):
    assert torch.equal(build("lfq", latent_channels=5)(z).quantized, z.sign())


def test_zero_is_the_bit_zero():
    output = build("lfq", latent_channels=3)(torch.tensor([[0.0, -0.0, 1e-45]]))
    assert output.quantized.tolist() == [[-1, -1, 1]]
    assert output.indices.tolist() == [[1]]


def test_the_first_channel_is_the_most_significant_bit(z):
    indices = build("lfq", latent_channels=5)(z).indices
    expected = sum((z[:, bit] > 0).long() << (4 - bit) for bit in range(5))
    assert torch.equal(indices[:, 0], expected)


@pytest.mark.parametrize("bits", [1, 2, 7, 12])
def test_every_index_is_the_binary_form_of_its_code(bits):
    lfq = build("lfq", latent_channels=bits)
    indices = torch.arange(2**bits)[:, None]
    codes = lfq.dequantize(indices)
    written = torch.tensor([[2.0 * int(b) - 1 for b in f"{i:0{bits}b}"] for i in range(2**bits)])
    assert torch.equal(codes, written)
    assert torch.equal(lfq(codes).indices, indices)


def test_sixty_two_bits_are_packed_exactly():
    lfq = build("lfq", latent_channels=62, entropy_weight=0.0)
    assert lfq.bits_per_position == 62
    z = torch.randn(50, 62, generator=torch.Generator().manual_seed(1))
    output = lfq(z)
    written = [int("".join("1" if x > 0 else "0" for x in row), 2) for row in z.tolist()]
    assert output.indices.flatten().tolist() == written
    assert torch.equal(lfq.dequantize(output.indices), z.sign())


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e3, 1e20])
def test_the_code_does_not_depend_on_the_scale(z, scale):
    lfq = build("lfq", latent_channels=5, entropy_weight=0.0)
    assert torch.equal(lfq(z * scale).indices, lfq(z).indices)


def test_flipping_every_sign_flips_every_bit(z):
    lfq = build("lfq", latent_channels=5)
    assert torch.equal(lfq(-z).indices, 31 - lfq(z).indices)
    assert torch.equal(lfq(-z).quantized, -lfq(z).quantized)


def test_the_gradient_of_the_output_passes_the_sign_unchanged(z):
    z.requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    build("lfq", latent_channels=5)(z).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)


def test_the_commitment_is_the_mean_squared_distance_to_the_code(z):
    z.requires_grad_()
    loss = build("lfq", latent_channels=5, commitment_weight=0.4)(z).losses["commitment"]
    error = z.detach().double() - z.detach().double().sign()
    torch.testing.assert_close(loss.double(), 0.4 * error.square().mean(), rtol=1e-5, atol=0)
    loss.backward()
    torch.testing.assert_close(z.grad.double(), 0.8 * error / error.numel(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 20.0])
def test_entropies_are_those_of_the_soft_code_over_all_codes(z, temperature):
    """p(code | z) is proportional to exp(2 <z, code> / temperature), over all 2^K codes."""
    lfq = build(
        "lfq", latent_channels=5, temperature=temperature, entropy_weight=0.2, diversity_weight=3.0
    )
    codes = lfq.dequantize(torch.arange(32)[:, None]).double()
    latents = z.movedim(1, -1).flatten(0, -2).double().requires_grad_()
    log_p = (2 / temperature * latents @ codes.T).log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    of_token = 0.2 * -(log_p.exp() * log_p).sum(dim=1).mean()
    of_batch = -0.2 * 3.0 * -torch.xlogy(mean, mean).sum()

    losses = lfq(z.requires_grad_()).losses
    torch.testing.assert_close(losses["token_entropy"].double(), of_token, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(losses["batch_entropy"].double(), of_batch, rtol=1e-5, atol=1e-7)
    (of_token + of_batch).backward()
    (losses["token_entropy"] + losses["batch_entropy"]).backward()
    gradient = z.grad.movedim(1, -1).flatten(0, -2).double()
    atol = 1e-5 * float(latents.grad.abs().max())
    torch.testing.assert_close(gradient, latents.grad, rtol=1e-4, atol=atol)


def test_the_defaults_are_those_of_open_magvit2():
    lfq = build("lfq", latent_channels=5)
    z = torch.full((1, 5), 1e-3).requires_grad_()
    losses = lfq(z).losses
    assert float(losses["commitment"].detach()) == pytest.approx(0.25 * (1 - 1e-3) ** 2)
    bit = 1 / (1 + math.exp(-0.4))  # sigmoid of 4 z / temperature, with temperature 0.01
    entropy = -5 * (bit * math.log(bit) + (1 - bit) * math.log(1 - bit))
    assert float(losses["token_entropy"].detach()) == pytest.approx(0.1 * entropy, rel=1e-5)
    assert float(losses["batch_entropy"].detach()) == pytest.approx(-0.1 * entropy, rel=1e-5)


def test_certain_and_diverse_codes_have_the_lowest_entropy_loss():
    """All four codes equally often, each for certain: no token entropy, 2 ln 2 in the batch."""
    corners = torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0]))
    losses = build("lfq", latent_channels=2, entropy_weight=1.0)(corners).losses
    assert float(losses["token_entropy"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["batch_entropy"]) == pytest.approx(-2 * math.log(2), rel=1e-6)


def test_without_weight_no_entropy_is_computed(z):
    assert set(build("lfq", latent_channels=5)(z).losses) == {
        "commitment",
        "token_entropy",
        "batch_entropy",
    }
    assert set(build("lfq", latent_channels=5, entropy_weight=0.0)(z).losses) == {"commitment"}


def test_it_learns_nothing_and_stores_nothing():
    lfq = build("lfq", latent_channels=18)
    assert lfq.codebook_sizes == (262144,)
    assert not list(lfq.parameters())
    assert not lfq.state_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_channels": 0}, "packs 1 to 62 bits in an index, got 0"),
        ({"latent_channels": 63}, "packs 1 to 62 bits in an index, got 63"),
        ({"latent_channels": 25}, "at most 2\\^24 codes, got 33554432; entropy_weight=0"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be finite and above 0, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and above 0, got inf"),
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"diversity_weight": math.nan}, "diversity_weight must be .* got nan"),
        ({"commitment_weight": math.inf}, "commitment_weight must be .* got inf"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("lfq", **{"latent_channels": 5} | wrong)
