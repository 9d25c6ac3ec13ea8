"""Differences from other libraries, vector-quantize-pytorch 1.32.0 and scikit-learn.

Indices are compared by the margin rule: see margin.py.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from margin import clear, clearly_rounded, normal

from quantizers import build
from quantizers.nearest import nearest
from quantizers.parts.entropy import bit_entropies

pytestmark = pytest.mark.oracle


def test_vq_equals_vector_quantize(vqp):
    z, codes = normal(1, 2000, 16), normal(4096, 16, seed=1)
    theirs = vqp.VectorQuantize(dim=16, codebook_size=4096).eval()
    theirs.codebook = codes
    ours = build("vq", latent_channels=16, codebook_size=4096)
    ours.load_state_dict({"codebook": codes})
    quantized, indices, _ = theirs(z)
    output = ours(z.mT)
    keep = clear(z, codes)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices.squeeze(1)[keep], indices[keep])
    assert torch.equal(output.quantized.mT[keep], quantized[keep])


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("spherical", [True, False])
def test_gsq_equals_vector_quantize_with_heads(vqp, groups, shared, spherical):
    """On the sphere that is cosine VQ for one group; off it, product quantization."""
    d = 16 // groups
    z, codes = normal(1, 2000, 16), normal(1 if shared else groups, 256, d, seed=1)
    codes = F.normalize(codes, dim=-1) if spherical else codes
    theirs = vqp.VectorQuantize(
        dim=16,
        heads=groups,
        codebook_dim=d,
        codebook_size=256,
        use_cosine_sim=spherical,
        separate_codebook_per_head=not shared,
    ).eval()
    theirs._codebook.embed.copy_(codes)
    ours = build(
        "gsq",
        groups=groups,
        group_channels=d,
        codebook_size=256,
        shared=shared,
        spherical=spherical,
    )
    ours.load_state_dict({"codebook": codes})
    quantized, indices, _ = theirs(z)
    output = ours(z.mT)
    latents = z[0].unflatten(-1, (groups, d)).transpose(0, 1)
    latents = F.normalize(latents, dim=-1) if spherical else latents
    keep = clear(latents, codes).all(dim=0)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices.view(2000, groups)[keep])
    torch.testing.assert_close(output.quantized.mT[0][keep], quantized[0][keep], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "levels", [(8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 6, 5), (4,) * 8, (3, 3)], ids=str
)
def test_fsq_equals_fsq(vqp, levels):
    theirs, ours = vqp.FSQ(list(levels)).eval(), build("fsq", levels=levels)
    z = normal(1, 5000, len(levels))
    quantized, indices = theirs(z)
    output = ours(z.mT)
    bounded = ours._steps(z)
    keep = clearly_rounded(bounded)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices.squeeze(1)[keep], indices.long()[keep])
    assert torch.equal(output.quantized.mT[keep], quantized[keep])
    every = torch.arange(ours.codebook_sizes[0])
    assert torch.equal(ours.dequantize(every[:, None]), theirs.indices_to_codes(every[None])[0])


@pytest.mark.parametrize("levels", range(3, 17))
def test_fsq_differs_from_the_published_listing_at_the_cell_edges_only(levels):
    """The listing's tan and narrower range move 0.05 % to 1 % of normal scalars by one level."""
    z = normal(200_000, 1)
    half_range, offset = (levels - 1) * (1 - 1e-3) / 2, 0.0 if levels % 2 else 0.5
    shift = np.tan(offset / half_range)
    listing = ((z + shift).tanh() * half_range - offset).round() / (levels // 2)
    different = (build("fsq", levels=(levels,))(z).quantized - listing).abs() * (levels // 2)
    assert different.max() <= 1 + 1e-6
    assert 0.0005 <= float((different > 0.5).float().mean()) <= 0.01


@pytest.mark.parametrize("bits", [1, 6, 12])
@pytest.mark.parametrize("spherical", [False, True])
def test_lfq_equals_lfq(vqp, bits, spherical):
    theirs = vqp.LFQ(dim=bits, codebook_size=2**bits, spherical=spherical).eval()
    z = normal(1, 1000, bits)
    z[0, :10] = 0
    quantized, indices = theirs(z)[:2]
    output = build("lfq", latent_channels=bits, entropy_weight=0.0)(z.mT)
    assert torch.equal(output.indices.squeeze(1), indices)
    length = bits**0.5 if spherical else 1.0
    torch.testing.assert_close(output.quantized.mT / length, quantized)


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_lfq_entropies_equal_lfq_up_to_its_clamp(vqp, bits):
    theirs = vqp.LFQ(dim=bits, codebook_size=2**bits, entropy_loss_weight=1.0).train()
    z = 0.02 * normal(1, 200, bits)
    latents = [z.clone().requires_grad_(), z[0].clone().requires_grad_()]
    _, losses = theirs(latents[0], inv_temperature=20.0, return_loss_breakdown=True)
    per_token, of_batch = bit_entropies(4 * 20.0 * latents[1])
    torch.testing.assert_close(per_token, losses.per_sample_entropy, rtol=0, atol=5e-3)
    torch.testing.assert_close(of_batch, losses.batch_entropy, rtol=0, atol=1e-5)
    (losses.per_sample_entropy - losses.batch_entropy).backward()
    (per_token - of_batch).backward()
    difference = (latents[0].grad[0] - latents[1].grad).norm() / latents[1].grad.norm()
    assert difference < 5e-3


def test_vq_gradients_equal_vector_quantize(vqp):
    codes, upstream = normal(64, 8, seed=1), normal(1, 300, 8, seed=2)
    theirs = vqp.VectorQuantize(
        dim=8, codebook_size=64, rotation_trick=False, freeze_codebook=True, commitment_weight=0.4
    ).train()
    theirs.codebook = codes
    ours = build("vq", latent_channels=8, codebook_size=64, commitment_weight=0.4)
    ours.load_state_dict({"codebook": codes})
    latents = [normal(1, 300, 8).requires_grad_(), normal(1, 300, 8).requires_grad_()]
    quantized, _, loss = theirs(latents[0])
    output = ours(latents[1].mT)
    for z, value in zip(latents, (quantized, output.quantized.mT), strict=True):
        (gradient,) = torch.autograd.grad(value, z, upstream, retain_graph=True)
        assert torch.equal(gradient, upstream)
    torch.testing.assert_close(output.losses["commitment"], loss.squeeze())
    (expected,) = torch.autograd.grad(loss.squeeze(), latents[0])
    (gradient,) = torch.autograd.grad(output.losses["commitment"], latents[1])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("d", [1, 4, 16, 64])
@pytest.mark.parametrize("v", [256, 4096, 65536])
def test_nearest_equals_scikit_learn(d, v):
    metrics = pytest.importorskip("sklearn.metrics")
    latents, codebook = normal(300, d), normal(v, d, seed=1)
    expected = metrics.pairwise_distances_argmin(
        latents.double().numpy(), codebook.double().numpy()
    )
    keep = clear(latents, codebook)
    assert keep.float().mean() > 0.95
    assert torch.equal(nearest(latents, codebook)[keep], torch.from_numpy(expected)[keep])
