"""Facts of E8: its 240 shortest vectors, and the regions of the sphere that they stand for."""

import math

import pytest
import torch
import torch.nn.functional as F

from quantizers import build


@pytest.fixture
def codes():
    return build("e8").dequantize(torch.arange(240)[:, None])


@pytest.fixture
def z():
    return torch.randn(500, 8, generator=torch.Generator().manual_seed(0))


def test_there_are_112_codes_with_two_coordinates_and_128_with_eight(codes):
    assert codes.shape == (240, 8)
    assert len(codes.unique(dim=0)) == 240
    sizes = (codes.double() * math.sqrt(2)).abs()
    whole = (sizes == 0) | ((sizes - 1).abs() < 1e-7)
    assert int((whole.all(dim=1) & (whole & (sizes > 0.5)).sum(dim=1).eq(2)).sum()) == 112
    halves = ((sizes - 0.5).abs() < 1e-7).all(dim=1)
    assert int(halves.sum()) == 128
    assert ((codes[halves] < 0).sum(dim=1) % 2 == 0).all()


def test_every_code_sees_the_others_at_the_same_angles(codes):
    """Inner products of a root system: one code, 56 neighbours at 60 degrees, 126 orthogonal."""
    products = (codes.double() @ codes.double().T * 2).round() / 2
    torch.testing.assert_close(codes.double() @ codes.double().T, products, rtol=0, atol=1e-6)
    for product, count in {1.0: 1, 0.5: 56, 0.0: 126, -0.5: 56, -1.0: 1}.items():
        assert (products == product).sum(dim=1).eq(count).all()


def test_neighbouring_codes_are_one_apart_on_the_unit_sphere(codes):
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(240), rtol=0, atol=1e-6)
    distances = torch.cdist(codes.double(), codes.double()).fill_diagonal_(math.inf)
    assert float(distances.min()) == pytest.approx(1.0, abs=1e-6)


def test_the_opposite_of_a_code_has_the_mirrored_index(codes):
    assert torch.equal(codes.flip(0), -codes)
    assert codes.tolist() == sorted(codes.tolist())


def test_every_group_becomes_the_code_of_the_smallest_angle(codes, z):
    output = build("e8", groups=2)(z.view(250, 16))
    products = F.normalize(z, dim=1).double() @ codes.double().T
    assert torch.equal(output.indices.flatten(), products.argmax(dim=1))
    assert torch.equal(output.quantized.view(500, 8), codes[products.argmax(dim=1)])
    assert not output.losses


def test_no_latent_is_further_than_45_degrees_from_its_code(z):
    e8 = build("e8")
    cosine = (F.normalize(z, dim=1) * e8(z).quantized).sum(dim=1)
    assert float(cosine.min()) > math.sqrt(0.5) - 1e-6
    axis = torch.eye(8)  # the deepest holes
    cosine = (axis * e8(axis).quantized).sum(dim=1)
    torch.testing.assert_close(cosine, torch.full((8,), math.sqrt(0.5)))


def test_reordering_the_channels_reorders_the_code(z):
    e8 = build("e8")
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(e8(z[:, order]).quantized, e8(z).quantized[:, order])


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_length_of_a_latent_does_not_matter(z, scale):
    assert torch.equal(build("e8")(z * scale).indices, build("e8")(z).indices)


def test_the_gradient_passes_the_look_up_and_the_normalisation(z):
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    build("e8")(z.requires_grad_()).quantized.backward(upstream)
    latents, g = z.detach().double(), upstream.double()
    length = latents.norm(dim=1, keepdim=True)
    unit = latents / length
    expected = (g - unit * (unit * g).sum(dim=1, keepdim=True)) / length
    torch.testing.assert_close(z.grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_it_learns_nothing_and_stores_nothing():
    e8 = build("e8", groups=3)
    assert e8.latent_channels == 24
    assert e8.bits_per_position == pytest.approx(3 * math.log2(240))
    assert not list(e8.parameters())
    assert not e8.state_dict()


def test_no_group_is_refused():
    with pytest.raises(ValueError, match="groups >= 1, got 0"):
        build("e8", groups=0)
