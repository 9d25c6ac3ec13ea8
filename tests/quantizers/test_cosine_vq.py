"""Facts of cosine VQ: ViT-VQGAN (Yu et al. 2022), section 3.2, and LlamaGen (Sun et al. 2024)."""

import math

import pytest
import torch
import torch.nn.functional as F

from quantizers import Quantizer, build
from quantizers.estimators import estimate


@pytest.fixture
def z():
    return torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cosine_vq() -> Quantizer:
    """Eleven codes of three channels and differing lengths, so that normalising them matters."""
    quantizer = build("cosine_vq", latent_channels=3, codebook_size=11, commitment_weight=0.4)
    codes = torch.randn(11, 3, generator=torch.Generator().manual_seed(1)) + 0.3
    quantizer.load_state_dict({"codebook": codes})
    return quantizer


def test_the_code_of_largest_cosine_is_emitted_with_unit_length(cosine_vq, z):
    output = cosine_vq(z)
    latents = F.normalize(z.movedim(1, -1).double(), dim=-1)
    codes = F.normalize(cosine_vq.codebook.detach().double(), dim=-1)
    best = (latents @ codes.T).argmax(dim=-1)
    assert torch.equal(output.indices[:, 0], best)
    torch.testing.assert_close(output.quantized.movedim(1, -1), codes[best].float())


def test_with_unit_vectors_the_euclidean_code_is_the_same_code(cosine_vq, z):
    vq = build("vq", latent_channels=3, codebook_size=11)
    vq.load_state_dict({"codebook": F.normalize(cosine_vq.codebook.detach(), dim=-1)})
    assert torch.equal(vq(F.normalize(z, dim=1)).indices, cosine_vq(z).indices)


def test_no_gradient_is_radial(cosine_vq, z):
    """Neither a latent nor a code gains by another length."""
    z.requires_grad_()
    output = cosine_vq(z)
    (output.quantized.sin().sum() + sum(output.losses.values())).backward()
    for vectors, gradients in (
        (z.detach().movedim(1, -1), z.grad.movedim(1, -1)),
        (cosine_vq.codebook.detach(), cosine_vq.codebook.grad),
    ):
        radial = (vectors * gradients).sum(dim=-1)
        assert (radial.abs() <= 1e-5 * vectors.norm(dim=-1) * gradients.norm(dim=-1)).all()
        assert gradients.any()


def test_losses_compare_unit_vectors(cosine_vq, z):
    output = cosine_vq(z)
    distance = output.quantized.double() - F.normalize(z.double(), dim=1)
    expected = distance.square().mean()
    torch.testing.assert_close(output.losses["codebook"].double(), expected, rtol=1e-5, atol=0)
    commitment = output.losses["commitment"].double()
    torch.testing.assert_close(commitment, 0.4 * expected, rtol=1e-5, atol=0)


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("cosine_vq", latent_channels=3, codebook_size=4)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


def test_codes_start_as_directions_uniform_in_a_cube():
    """In the plane a share of 1 - tan(pi / 8) lies nearer to a diagonal than to an axis."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codes = build("cosine_vq", latent_channels=2, codebook_size=20_000).codebook.detach()
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(20_000))
    diagonal = codes.abs().amin(dim=-1) > math.sin(math.pi / 8)
    assert float(diagonal.float().mean()) == pytest.approx(1 - math.tan(math.pi / 8), abs=0.01)
    assert codes.mean(dim=0).abs().max() < 0.02


@pytest.mark.parametrize("estimator", ["straight_through", "rotation", "diveq"])
def test_the_estimator_leads_from_unit_vector_to_unit_vector(cosine_vq, estimator):
    quantizer = build("cosine_vq", latent_channels=3, codebook_size=11, estimator=estimator)
    quantizer.load_state_dict(cosine_vq.state_dict())
    generator = torch.Generator().manual_seed(2)
    z, upstream = (torch.randn(60, 3, generator=generator) for _ in range(2))
    output = quantizer(z.requires_grad_())
    codes = F.normalize(quantizer.codebook, dim=1)[output.indices[:, 0]]
    again = estimate(estimator, F.normalize(z, dim=1), codes)
    leaves = [z, quantizer.codebook]
    found, expected = (
        torch.autograd.grad(
            value, leaves, upstream, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for value in (output.quantized, again)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codebook_size": 1}, "got 8 and 1"),
        ({"codebook_size": 4, "latent_channels": 1}, "latent_channels >= 2 .* got 1 and 4"),
        ({"codebook_size": 4, "commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("cosine_vq", **wrong)
