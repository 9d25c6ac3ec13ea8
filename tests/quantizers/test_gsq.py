"""Facts of GSQ: Wang et al. 2024, equations 3 to 5 and appendix C."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quantizers import Quantizer, build


@pytest.fixture
def z():
    return torch.randn(4, 12, 5, 2, generator=torch.Generator().manual_seed(0))


def make(codebook: Tensor | None = None, seed: int = 0, **parameters) -> Quantizer:
    """A GSQ of 3 groups of 4 channels and 16 codes, with given or seeded codes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gsq = build("gsq", **{"groups": 3, "group_channels": 4, "codebook_size": 16} | parameters)
    if codebook is not None:
        with torch.no_grad():
            gsq.codebook.copy_(codebook)
    return gsq


def by_group(x: Tensor, groups: int = 3) -> Tensor:
    """(b, c, h, w) to (b, h, w, groups, d): a group is a run of neighbouring channels."""
    return torch.stack(x.chunk(groups, dim=1), dim=1).permute(0, 3, 4, 1, 2)


def uneven_codes(*shape: int) -> Tensor:
    """Codes of differing lengths, so that normalising them matters."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)) + 0.3


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("emit", ["unit", "raw"])
def test_every_group_becomes_the_nearest_code_of_its_codebook(z, spherical, shared, emit):
    gsq = make(
        uneven_codes(1 if shared else 3, 16, 4), shared=shared, spherical=spherical, emit=emit
    )
    codebooks = gsq.codebook.detach().double().expand(3, 16, 4)
    latents = by_group(z).double()
    if spherical:
        codebooks, latents = F.normalize(codebooks, dim=-1), F.normalize(latents, dim=-1)
    distances = (latents[..., None, :] - codebooks).square().sum(dim=-1)
    output = gsq(z)
    assert torch.equal(output.indices.permute(0, 2, 3, 1), distances.argmin(dim=-1))
    emitted = gsq.codebook.detach().expand(3, 16, 4)
    if spherical and emit == "unit":
        emitted = F.normalize(emitted, dim=-1)
    quantized = by_group(output.quantized)
    for group in range(3):
        codes = emitted[group][output.indices[:, group]]
        assert torch.equal(quantized[..., group, :], codes)


def test_one_group_without_sphere_is_vq(z):
    gsq = make(groups=1, group_channels=12, spherical=False, init="uniform", commitment_weight=0.7)
    vq = build("vq", latent_channels=12, codebook_size=16, commitment_weight=0.7)
    vq.load_state_dict({"codebook": gsq.codebook.detach()[0]})
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    ours, theirs = gsq(latents[0]), vq(latents[1])
    assert torch.equal(ours.indices, theirs.indices)
    assert torch.equal(ours.quantized, theirs.quantized)
    assert ours.losses == theirs.losses
    for output in (ours, theirs):
        (output.quantized.square().sum() + sum(output.losses.values())).backward()
    assert torch.equal(latents[0].grad, latents[1].grad)
    assert torch.equal(gsq.codebook.grad[0], vq.codebook.grad)


def test_two_codes_in_one_dimension_are_the_bits_of_lfq(z):
    codes = torch.tensor([[[-1.0], [1.0]]])
    gsq = make(codes, groups=12, group_channels=1, codebook_size=2)
    lfq = build("lfq", latent_channels=12)
    ours, theirs = gsq(z), lfq(z)
    assert torch.equal(ours.quantized, theirs.quantized)
    significance = 2 ** torch.arange(11, -1, -1).view(-1, 1, 1)
    assert torch.equal((ours.indices * significance).sum(dim=1, keepdim=True), theirs.indices)


def test_four_corners_in_the_plane_are_the_signs(z):
    corners = torch.tensor([[[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]])
    gsq = make(corners, groups=6, group_channels=2, codebook_size=4, spherical=True)
    torch.testing.assert_close(gsq(z).quantized, z.sign() / math.sqrt(2))


def test_all_vertices_of_a_cube_are_one_spherical_bit_code():
    vertices = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    gsq = make(vertices[None], groups=1)
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(gsq(z).quantized, z.sign() / 2)
    assert torch.equal(gsq(z).indices, build("lfq", latent_channels=4)(z).indices)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9])
def test_the_length_of_a_latent_does_not_matter(z, scale):
    gsq = make()
    lengths = scale * torch.tensor([1.0, 0.5, 3.0]).repeat_interleave(4).view(1, 12, 1, 1)
    expected, output = gsq(z), gsq(z * lengths)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    for name, loss in output.losses.items():
        torch.testing.assert_close(loss, expected.losses[name], rtol=1e-5, atol=0)


def test_the_length_of_a_code_matters_only_to_raw_emission(z):
    codes, lengths = uneven_codes(1, 16, 4), torch.linspace(0.1, 5, 16).view(1, 16, 1)
    expected, output = make(codes)(z), make(codes * lengths)(z)
    assert torch.equal(output.indices, expected.indices)
    torch.testing.assert_close(output.quantized, expected.quantized)
    raw = make(codes * lengths, emit="raw")(z)
    assert torch.equal(raw.indices, expected.indices)
    assert not torch.allclose(raw.quantized, expected.quantized)


def test_gradients_are_orthogonal_to_the_latent_within_each_group(z):
    z.requires_grad_()
    output = make()(z)
    (output.quantized.sin().sum() + 100 * output.losses["commitment"]).backward()
    radial = (by_group(z.grad) * by_group(z.detach())).sum(dim=-1)
    sizes = by_group(z.grad).norm(dim=-1) * by_group(z.detach()).norm(dim=-1)
    assert (radial.abs() <= 1e-6 * sizes).all()
    assert sizes.min() > 0


def test_the_gradient_passes_the_normalisation_of_the_latent(z):
    z.requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    make()(z).quantized.backward(upstream)
    latents, g = by_group(z.detach()).double(), by_group(upstream).double()
    length = latents.norm(dim=-1, keepdim=True)
    unit = latents / length
    expected = (g - unit * (unit * g).sum(dim=-1, keepdim=True)) / length
    torch.testing.assert_close(by_group(z.grad).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_rotation_trick_turns_the_gradient_of_each_group(z):
    """On the sphere it does not scale; then comes the normalisation, as without the trick."""
    output = make(estimator="rotation")(z.requires_grad_())
    assert torch.equal(output.quantized, make()(z).quantized)
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    output.quantized.backward(upstream)
    latents, code, g = (by_group(x.detach()).double() for x in (z, output.quantized, upstream))
    unit = F.normalize(latents, dim=-1)
    axis = F.normalize(unit + code, dim=-1)
    rotation = torch.eye(4).double() - 2 * axis[..., None] * axis[..., None, :]
    rotation += 2 * code[..., None] * unit[..., None, :]
    turned = (rotation.mT @ g[..., None]).squeeze(-1)
    tangent = turned - unit * (unit * turned).sum(dim=-1, keepdim=True)
    expected = tangent / latents.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(by_group(z.grad).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("emit", ["unit", "raw"])
def test_losses_have_the_closed_form_of_equation_5(z, emit):
    """The mean over all elements of the squared distance of the unit latent to the emitted code."""
    gsq = make(uneven_codes(1, 16, 4), emit=emit, commitment_weight=0.4)
    output = gsq(z)
    unit = F.normalize(by_group(z).double(), dim=-1)
    expected = (by_group(output.quantized).double() - unit).square().mean()
    torch.testing.assert_close(output.losses["codebook"].double(), expected, rtol=1e-5, atol=0)
    commitment = output.losses["commitment"].double()
    torch.testing.assert_close(commitment, 0.4 * expected, rtol=1e-5, atol=0)


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = make()(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


def test_repeating_the_groups_keeps_the_loss(z):
    losses, twice = make()(z).losses, make(groups=6)(torch.cat([z, z], dim=1)).losses
    for name, loss in twice.items():
        torch.testing.assert_close(loss, losses[name], rtol=1e-6, atol=0)


def test_swapping_groups_swaps_indices_of_a_shared_codebook(z):
    order = [2, 0, 1]
    swapped = torch.cat([z.chunk(3, dim=1)[group] for group in order], dim=1)
    assert torch.equal(make()(swapped).indices, make()(z).indices[:, order])
    assert not torch.equal(
        make(shared=False)(swapped).indices, make(shared=False)(z).indices[:, order]
    )


def test_the_output_has_the_length_of_the_root_of_the_number_of_groups(z):
    lengths = make(uneven_codes(1, 16, 4))(z).quantized.norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, math.sqrt(3)))


def test_one_dimension_on_the_sphere_has_two_codes():
    gsq = make(torch.randn(1, 64, 1), groups=4, group_channels=1, codebook_size=64, spherical=True)
    output = gsq(torch.randn(100, 4))
    assert len(output.indices.unique()) == 2
    assert output.quantized.abs().unique().tolist() == [1.0]
    assert gsq(torch.zeros(1, 4)).indices.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(("group_channels", "spherical"), [(1, False), (2, False), (3, True)])
def test_one_and_two_channels_stay_off_the_sphere_by_default(group_channels, spherical):
    codes = uneven_codes(1, 16, group_channels)
    quantized = make(codes, group_channels=group_channels)(
        torch.randn(20, 3 * group_channels)
    ).quantized
    lengths = torch.stack(quantized.chunk(3, dim=1)).norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths)) == spherical
