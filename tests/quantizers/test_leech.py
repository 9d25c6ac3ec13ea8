"""Facts of Spherical Leech Quantization, arXiv 2512.14697."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quantizers import build


@pytest.fixture(scope="module")
def leech():
    return build("leech")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_code_has_length_one_and_its_neighbours_are_one_apart(leech):
    codes = leech.dequantize(torch.arange(0, 196_560, 41)[:, None])
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(len(codes)), rtol=0, atol=1e-6)
    every = leech.dequantize(torch.arange(196_560)[:, None])
    distances = (2 - 2 * every @ codes[7]).clamp_min(0).sqrt().sort().values
    torch.testing.assert_close(distances[1:4601], torch.ones(4600), rtol=0, atol=1e-5)
    assert float(distances[4601]) > 1.2


def test_coordinates_are_whole_numbers_from_minus_4_to_4(leech):
    codes = leech.dequantize(torch.arange(196_560)[:, None]) * math.sqrt(32)
    assert torch.equal(codes.round().unique(), torch.arange(-4.0, 5.0))
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-6)


def test_uniform_directions_have_a_mean_squared_error_of_0_445(leech):
    """60,000 directions gave 0.4448 with a standard error of 0.0002."""
    z = normal(4000, 24)
    error = (F.normalize(z, dim=1) - leech(z).quantized).square().sum(dim=1)
    assert float(error.mean()) == pytest.approx(0.4448, abs=0.003)


@pytest.mark.parametrize(
    ("z", "cosine"),
    [
        ([5.0] + [1.0] * 23, 3 / math.sqrt(24)),  # a lattice vector of the second shortest length
        ([8.0] + [0.0] * 23, math.sqrt(0.5)),  # of the third
    ],
)
def test_the_next_vectors_of_the_lattice_are_as_far_from_the_codes_as_theory_says(leech, z, cosine):
    """|v - c|^2 >= 4 for lattice vectors: <v, c> <= 3 where |v|^2 = 6, and 4 where it is 8."""
    latent = torch.tensor([z])
    assert float((F.normalize(latent) * leech(latent).quantized).sum()) == pytest.approx(cosine)


def test_every_group_is_quantized_alone(leech):
    z = normal(6, 48, 2)
    output = build("leech", groups=2)(z)
    for group in range(2):
        channels = slice(24 * group, 24 * group + 24)
        alone = leech(z[:, channels])
        assert torch.equal(output.quantized[:, channels], alone.quantized)
        assert torch.equal(output.indices[:, group : group + 1], alone.indices)
    assert not output.losses


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-20, 2.0**20, 2.0**120])
def test_the_length_of_a_latent_does_not_matter(leech, scale):
    z = normal(300, 24)
    assert torch.equal(leech(z * scale).indices, leech(z).indices)


def test_the_gradient_passes_the_look_up_and_the_normalisation(leech):
    z, upstream = normal(50, 24).requires_grad_(), normal(50, 24, seed=1)
    leech(z).quantized.backward(upstream)
    latents, g = z.detach().double(), upstream.double()
    length = latents.norm(dim=1, keepdim=True)
    unit = latents / length
    expected = (g - unit * (unit * g).sum(dim=1, keepdim=True)) / length
    torch.testing.assert_close(z.grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_it_learns_nothing_and_stores_nothing():
    leech = build("leech", groups=3)
    assert leech.latent_channels == 72
    assert leech.bits_per_position == pytest.approx(3 * 17.5846, abs=1e-3)
    assert not list(leech.parameters())
    assert not leech.state_dict()


def test_no_group_is_refused():
    with pytest.raises(ValueError, match="groups >= 1, got 0"):
        build("leech", groups=0)
