"""Differences of the scalar and binary methods from vector-quantize-pytorch 1.32.0."""

import pytest
import torch
from margin import clearly_rounded, normal

from quantizers import build

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("bits", [2, 6, 12])
def test_bsq_equals_spherical_lfq(vqp, bits):
    theirs = vqp.LFQ(dim=bits, codebook_size=2**bits, spherical=True).eval()
    z = normal(1, 1000, bits)
    z[0, :10] = 0
    quantized, indices = theirs(z)[:2]
    output = build("bsq", latent_channels=bits)(z.mT)
    assert torch.equal(output.indices.squeeze(1), indices)
    torch.testing.assert_close(output.quantized.mT, quantized)


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_bsq_losses_equal_spherical_lfq_up_to_its_clamp(vqp, bits):
    theirs = vqp.LFQ(
        dim=bits, codebook_size=2**bits, spherical=True, commitment_loss_weight=1.0
    ).train()
    ours = build(
        "bsq", latent_channels=bits, temperature=0.5, entropy_weight=1.0, commitment_weight=1.0
    )
    z = normal(1, 200, bits)
    _, expected = theirs(z, inv_temperature=2.0, return_loss_breakdown=True)
    losses = ours(z.mT).losses
    torch.testing.assert_close(
        losses["token_entropy"], expected.per_sample_entropy, rtol=0, atol=5e-3
    )
    torch.testing.assert_close(losses["batch_entropy"], -expected.batch_entropy, rtol=0, atol=1e-4)
    torch.testing.assert_close(losses["commitment"], expected.commitment)


def test_the_gradient_of_spherical_lfq_lacks_the_division_of_bsq_by_sqrt_l(vqp):
    theirs = vqp.LFQ(dim=9, codebook_size=2**9, spherical=True).train()
    upstream = normal(1, 300, 9, seed=1)
    latents = [normal(1, 300, 9).requires_grad_(), normal(1, 300, 9).requires_grad_()]
    theirs(latents[0])[0].backward(upstream)
    build("bsq", latent_channels=9)(latents[1].mT).quantized.backward(upstream.mT)
    torch.testing.assert_close(3 * latents[1].grad, latents[0].grad)


@pytest.mark.parametrize(("groups", "group_channels"), [(2, 4), (3, 5), (4, 2)])
def test_grouped_lfq_equals_lfq_with_codebooks_whose_entropies_it_averages(
    vqp, groups, group_channels
):
    theirs = vqp.LFQ(
        dim=groups * group_channels,
        codebook_size=2**group_channels,
        num_codebooks=groups,
        commitment_loss_weight=1.0,
    ).train()
    ours = build(
        "grouped_lfq",
        groups=groups,
        group_channels=group_channels,
        temperature=0.05,
        entropy_weight=1.0,
        commitment_weight=1.0,
    )
    z = 0.02 * normal(1, 500, groups * group_channels)
    output = ours(z.mT)
    (quantized, indices, _), expected = theirs(z, inv_temperature=20.0, return_loss_breakdown=True)
    assert torch.equal(output.indices.mT, indices)
    torch.testing.assert_close(output.quantized.mT, quantized)
    torch.testing.assert_close(
        output.losses["token_entropy"] / groups, expected.per_sample_entropy, rtol=0, atol=5e-3
    )
    torch.testing.assert_close(
        output.losses["batch_entropy"] / groups, -expected.batch_entropy, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(output.losses["commitment"], expected.commitment)


@pytest.mark.parametrize("levels", [(17, 15), (3, 5, 7), (13, 11, 11, 11)], ids=str)
def test_ifsq_with_the_tanh_equals_symmetric_fsq(vqp, levels):
    """For odd levels the symmetric grid is the same; a value near a cell's edge may differ."""
    theirs = vqp.FSQ(list(levels), preserve_symmetry=True).eval()
    ours = build("ifsq", levels=levels, alpha=2.0)
    z = normal(1, 5000, len(levels))
    quantized, _ = theirs(z)
    scaled = z.tanh() * (torch.tensor(levels) // 2)
    keep = clearly_rounded(scaled)
    assert keep.float().mean() > 0.99
    torch.testing.assert_close(ours(z.mT).quantized.mT[keep], quantized[keep], rtol=0, atol=1e-6)
    every = torch.arange(ours.codebook_sizes[0])
    torch.testing.assert_close(
        ours.dequantize(every[:, None]), theirs.indices_to_codes(every[None])[0], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (4,) * 5, (3, 2, 6), (2, 2)], ids=str)
def test_symmetric_fsq_equals_symmetric_fsq(vqp, levels):
    """Indices are equal but for values near a cell's edge; theirs truncate some codes' indices."""
    theirs = vqp.FSQ(list(levels), preserve_symmetry=True).eval()
    ours = build("fsq", levels=levels, symmetric=True)
    z = normal(1, 5000, len(levels))
    quantized, indices = theirs(z)
    output = ours(z.mT)
    scaled = (z.tanh() + 1) / 2 * (torch.tensor(levels) - 1) + 0.5
    keep = ((scaled - scaled.round()).abs() > 1e-5).all(dim=-1)
    assert keep.float().mean() > 0.99
    torch.testing.assert_close(output.quantized.mT[keep], quantized[keep], rtol=0, atol=1.2e-7)
    assert torch.equal(output.indices.squeeze(1)[keep], indices.long()[keep])
    every = torch.arange(ours.codebook_sizes[0])
    torch.testing.assert_close(
        ours.dequantize(every[:, None]), theirs.indices_to_codes(every[None])[0], rtol=0, atol=2e-7
    )
