"""Facts of BSQ: Zhao, Xiong, Krähenbühl 2025, section 4."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from unchecked import build_unchecked

from quantizers import build


@pytest.fixture
def z():
    return torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))


def tokens(z: Tensor) -> Tensor:
    """Latents as rows, in float64."""
    return z.detach().movedim(1, -1).flatten(0, -2).double()


@pytest.mark.parametrize("bits", [2, 3, 7, 12])
def test_every_index_is_the_binary_form_of_a_corner_in_the_unit_sphere(bits):
    bsq = build("bsq", latent_channels=bits)
    indices = torch.arange(2**bits)[:, None]
    codes = bsq.dequantize(indices)
    signs = torch.tensor([[2.0 * int(b) - 1 for b in f"{i:0{bits}b}"] for i in range(2**bits)])
    torch.testing.assert_close(codes, signs / math.sqrt(bits))
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(2**bits))
    assert torch.equal(bsq(codes).indices, indices)


def test_neighbours_differ_in_one_bit_and_lie_two_over_sqrt_l_apart():
    codes = build("bsq", latent_channels=18).dequantize(torch.tensor([[0], [1], [2**17]]))
    for neighbour in codes[1:]:
        assert float((codes[0] - neighbour).norm()) == pytest.approx(2 / math.sqrt(18))


def test_the_code_is_the_nearest_corner_to_the_latent_on_the_sphere(z):
    bsq = build("bsq", latent_channels=5)
    codes = bsq.dequantize(torch.arange(32)[:, None]).double()
    nearest = torch.cdist(F.normalize(tokens(z), dim=1), codes).argmin(dim=1)
    assert torch.equal(bsq(z).indices.flatten(), nearest)


def test_zero_is_the_bit_zero_also_where_the_normalisation_underflows():
    output = build("bsq", latent_channels=3)(torch.tensor([[0.0, -0.0, 1e-45], [0, 1e-30, 1e30]]))
    assert output.indices.tolist() == [[1], [3]]


def test_sixty_two_bits_are_packed_exactly():
    bsq = build("bsq", latent_channels=62, entropy_weight=0.0)
    z = torch.randn(50, 62, generator=torch.Generator().manual_seed(1))
    output = bsq(z)
    written = [int("".join("1" if x > 0 else "0" for x in row), 2) for row in z.tolist()]
    assert output.indices.flatten().tolist() == written
    assert torch.equal(bsq.dequantize(output.indices).sign(), z.sign())


@pytest.mark.parametrize("bits", [2, 8, 18, 36])
def test_the_error_stays_below_its_bound_and_has_its_mean(bits):
    """|u - code|^2 <= 2 - 2 / sqrt(L), with equality on the axes; its mean is in closed form."""
    bsq = build("bsq", latent_channels=bits, entropy_weight=0.0)
    bound = 2 - 2 / math.sqrt(bits)
    axis = F.one_hot(torch.arange(bits), bits).float()
    on_axes = (axis - bsq(axis).quantized).square().sum(dim=1)
    torch.testing.assert_close(on_axes, torch.full_like(on_axes, bound), rtol=1e-5, atol=1e-6)
    u = F.normalize(torch.randn(50_000, bits, generator=torch.Generator().manual_seed(2)), dim=1)
    errors = (u - bsq(u).quantized).square().sum(dim=1)
    assert errors.max() <= bound + 1e-6
    ratio = math.exp(math.lgamma(bits / 2) - math.lgamma((bits + 1) / 2))
    expected = 2 - 2 * math.sqrt(bits / math.pi) * ratio
    assert float(errors.mean()) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e3, 1e20])
def test_the_code_does_not_depend_on_the_scale(z, scale):
    bsq = build("bsq", latent_channels=5)
    assert torch.equal(bsq(z * scale).indices, bsq(z).indices)


def test_the_losses_do_not_depend_on_the_scale(z):
    bsq = build("bsq", latent_channels=5, commitment_weight=1.0)
    for name, loss in bsq(1e3 * z).losses.items():
        torch.testing.assert_close(loss, bsq(z).losses[name])


def test_the_gradient_passes_the_sign_divided_by_sqrt_l_and_then_the_normalisation(z):
    """g becomes g / sqrt(L) at u = z / |z|, and (I - u u^T) / |z| of that at z."""
    z.requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(3))
    build("bsq", latent_channels=5)(z).quantized.backward(upstream)
    expected = through_the_normalisation(tokens(upstream) / math.sqrt(5), tokens(z))
    torch.testing.assert_close(tokens(z.grad), expected, rtol=1e-4, atol=1e-6)


def test_the_commitment_is_the_mean_squared_distance_on_the_sphere(z):
    z.requires_grad_()
    loss = build("bsq", latent_channels=5, commitment_weight=0.4)(z).losses["commitment"]
    error = F.normalize(tokens(z), dim=1) - tokens(z).sign() / math.sqrt(5)
    torch.testing.assert_close(loss.double(), 0.4 * error.square().mean(), rtol=1e-5, atol=0)
    loss.backward()
    expected = through_the_normalisation(0.8 * error / error.numel(), tokens(z))
    torch.testing.assert_close(tokens(z.grad), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0])
def test_entropies_are_those_of_the_soft_code_over_all_codes(z, temperature):
    """p(code | u) is proportional to exp(2 <u, code> / temperature), over all 2^L codes."""
    bsq = build(
        "bsq", latent_channels=5, temperature=temperature, entropy_weight=0.2, diversity_weight=3.0
    )
    codes = bsq.dequantize(torch.arange(32)[:, None]).double()
    latents = tokens(z).requires_grad_()
    log_p = (2 / temperature * F.normalize(latents, dim=1) @ codes.T).log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    of_token = 0.2 * -(log_p.exp() * log_p).sum(dim=1).mean()
    of_batch = -0.2 * 3.0 * -torch.xlogy(mean, mean).sum()

    losses = bsq(z.requires_grad_()).losses
    torch.testing.assert_close(losses["token_entropy"].double(), of_token, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(losses["batch_entropy"].double(), of_batch, rtol=1e-5, atol=1e-7)
    (of_token + of_batch).backward()
    (losses["token_entropy"] + losses["batch_entropy"]).backward()
    atol = 1e-5 * float(latents.grad.abs().max())
    torch.testing.assert_close(tokens(z.grad), latents.grad, rtol=1e-4, atol=atol)


def test_the_defaults_are_those_of_the_authors():
    u = [0.8, 0.4, -0.4, -0.2]
    losses = build("bsq", latent_channels=4)(torch.tensor([u])).losses
    assert float(losses["commitment"]) == 0
    bits = [1 / (1 + math.exp(-2 * x)) for x in u]  # sigmoid of 4 u / sqrt(L), at temperature 1
    entropy = -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in bits)
    assert float(losses["token_entropy"]) == pytest.approx(0.1 * entropy, rel=1e-5)
    assert float(losses["batch_entropy"]) == pytest.approx(-0.1 * entropy, rel=1e-5)


def test_without_weight_no_entropy_is_computed(z):
    names = set(build("bsq", latent_channels=5)(z).losses)
    assert names == {"commitment", "token_entropy", "batch_entropy"}
    assert set(build("bsq", latent_channels=5, entropy_weight=0.0)(z).losses) == {"commitment"}


def test_it_learns_nothing_and_stores_nothing():
    bsq = build("bsq", latent_channels=18)
    assert bsq.codebook_sizes == (262144,)
    assert not list(bsq.parameters())
    assert not bsq.state_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_channels": 1}, "packs 2 to 62 bits in an index, got 1"),
        ({"latent_channels": 63}, "packs 2 to 62 bits in an index, got 63"),
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
        build_unchecked("bsq", **{"latent_channels": 5} | wrong)


def through_the_normalisation(gradient: Tensor, latents: Tensor) -> Tensor:
    """What a gradient at u = z / |z| is at z."""
    length = latents.norm(dim=1, keepdim=True)
    u = latents / length
    return (gradient - (gradient * u).sum(dim=1, keepdim=True) * u) / length
