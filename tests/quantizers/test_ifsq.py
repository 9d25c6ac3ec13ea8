"""Facts of iFSQ: Lin et al. 2026, the activation and the odd grid."""

import math

import pytest
import torch
from torch import Tensor
from unchecked import build_unchecked

from quantizers import build


def normal_quantiles(count: int) -> Tensor:
    """One channel of latents that are distributed as exactly as possible like N(0, 1)."""
    return torch.special.ndtri((torch.arange(count).double() + 0.5) / count).float()[:, None]


@pytest.mark.parametrize("levels", [3, 5, 17, 1001, 100_001])
@pytest.mark.parametrize("alpha", [0.5, 1.6, 10.0])
def test_a_channel_takes_exactly_its_levels(levels, alpha):
    ifsq = build("ifsq", levels=(levels,), alpha=alpha)
    codes = ifsq.dequantize(torch.arange(levels)[:, None])
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)
    torch.testing.assert_close(codes[:, 0].double(), grid, rtol=0, atol=1e-7)
    z = 2 / alpha * codes.double().clamp(-1 + 1e-12, 1 - 1e-12).atanh()
    assert torch.equal(ifsq(z.float()).indices, torch.arange(levels)[:, None])
    assert ifsq(torch.tensor([[-1e30], [0.0], [1e30]])).quantized.tolist() == [[-1], [0], [1]]


def test_the_first_channel_varies_fastest():
    digits = torch.cartesian_prod(torch.arange(7), torch.arange(5), torch.arange(3)).flip(1)
    half = torch.tensor([1, 2, 3])
    codes = build("ifsq", levels=(3, 5, 7)).dequantize(torch.arange(105)[:, None])
    assert torch.equal(codes, (digits - half) / half)


def test_the_grid_of_the_paper_has_sixteen_bits():
    ifsq = build("ifsq", levels=(17,) * 4)
    assert ifsq.codebook_sizes == (83_521,)
    assert ifsq.bits_per_position == pytest.approx(16.35, abs=0.005)


@pytest.mark.parametrize("alpha", [1.0, 1.6, 2.0])
def test_a_latent_is_squashed_by_a_scaled_sigmoid_and_rounded(alpha):
    z = 2 * torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    half = torch.tensor([1, 5, 8])
    scaled = (2 * torch.sigmoid(alpha * z.double()) - 1) * half
    clear = ((scaled - scaled.floor() - 0.5).abs() > 1e-4).all(dim=1)  # no near half-integer
    assert clear.float().mean() > 0.99
    quantized = build("ifsq", levels=(3, 11, 17), alpha=alpha)(z).quantized
    assert torch.equal(quantized[clear], (scaled.round() / half).float()[clear])


def test_the_grid_is_symmetric():
    z = 2 * torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    ifsq = build("ifsq", levels=(3, 9, 17))
    assert torch.equal(ifsq(-z).quantized, -ifsq(z).quantized)


def test_the_gradient_passes_the_rounding_and_follows_the_activation():
    z = torch.randn(100, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(3))
    build("ifsq", levels=(3, 9, 17), alpha=1.6)(z).quantized.backward(upstream)
    p = torch.sigmoid(1.6 * z.detach().double())
    expected = upstream.double() * 2 * 1.6 * p * (1 - p)
    torch.testing.assert_close(z.grad.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("alpha", "distance"), [(None, 0.0173), (1.702, 0.0097), (2.0, 0.0442)])
def test_normal_latents_become_more_uniform_than_under_tanh(alpha, distance):
    """The Kolmogorov distance to the uniform distribution; a fine grid shows the activation."""
    z = normal_quantiles(20_001)
    ifsq = build("ifsq", levels=(20_001,), **{} if alpha is None else {"alpha": alpha})
    uniform = torch.linspace(0, 1, len(z))[:, None]
    assert float(((ifsq(z).quantized + 1) / 2 - uniform).abs().max()) == pytest.approx(
        distance, abs=2e-4
    )


@pytest.mark.parametrize(
    ("levels", "alpha", "bits"),
    [(5, 1.6, 2.221), (5, 2.0, 2.305), (17, 1.6, 4.017), (17, 2.0, 4.057), (33, 1.6, 4.991)],
)
def test_narrow_outer_cells_cost_normal_latents_entropy(levels, alpha, bits):
    """Uniform latents fill the outer cells half, so tanh, though less uniform, codes more bits."""
    indices = build("ifsq", levels=(levels,), alpha=alpha)(normal_quantiles(200_000)).indices
    p = indices.flatten().bincount() / len(indices)
    assert float(-(p * p.log2()).sum()) == pytest.approx(bits, abs=1e-3)


def test_it_learns_nothing_and_stores_nothing():
    ifsq = build("ifsq", levels=(17, 15))
    assert not list(ifsq.parameters())
    assert not ifsq.state_dict()
    assert not ifsq(torch.randn(3, 2)).losses


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": ()}, r"odd number of levels, at least 3, in every channel, got \(\)"),
        ({"levels": (5, 1)}, r"at least 3, in every channel, got \(5, 1\)"),
        ({"levels": (5, 8)}, r"odd number of levels, .* got \(5, 8\)"),
        ({"levels": (9,) * 20}, r"make 12157665459056928801 codes, more than 2\^63 - 1"),
        ({"alpha": 0.0}, "finite alpha above 0, got 0.0"),
        ({"alpha": math.nan}, "finite alpha above 0, got nan"),
        ({"alpha": math.inf}, "finite alpha above 0, got inf"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("ifsq", **{"levels": (5, 5)} | wrong)
