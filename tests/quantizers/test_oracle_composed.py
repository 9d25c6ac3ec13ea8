"""Composed methods against vector-quantize-pytorch 1.32.0, with the margin rule of test_oracle."""

import pytest
import torch
from torch import Tensor

from quantizers import build

pytestmark = pytest.mark.oracle


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clear(latents: Tensor, codebook: Tensor) -> Tensor:
    """Which tokens have a best code whose distance beats the second by more than 1e-5 of it."""
    distances = torch.cdist(latents.double(), codebook.double()).square()
    best, second = distances.topk(2, largest=False).values.unbind(dim=-1)
    return second - best > 1e-5 * second


def clear_in_every_stage(latents: Tensor, codebooks: Tensor) -> Tensor:
    """Which tokens are clear in each stage of a greedy search."""
    keep = torch.ones(len(latents), dtype=torch.bool)
    for codebook in codebooks:
        keep &= clear(latents, codebook)
        latents = latents - codebook[torch.cdist(latents, codebook).argmin(dim=-1)]
    return keep


@pytest.mark.parametrize("groups", [1, 4])
def test_product_vq_equals_vector_quantize_with_separate_heads(vqp, groups):
    d = 16 // groups
    z, codes = normal(1, 2000, 16), normal(groups, 256, d, seed=1)
    theirs = vqp.VectorQuantize(
        dim=16, heads=groups, codebook_dim=d, codebook_size=256, separate_codebook_per_head=True
    ).eval()
    theirs._codebook.embed.copy_(codes)
    ours = build("product_vq", groups=groups, group_channels=d, codebook_size=256)
    ours.load_state_dict({f"subquantizers.{g}.codebook": codes[g] for g in range(groups)})
    quantized, indices, _ = theirs(z)
    output = ours(z.mT)
    keep = clear(z[0].unflatten(-1, (groups, d)).transpose(0, 1), codes).all(dim=0)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices.view(2000, groups)[keep])
    assert torch.equal(output.quantized.mT[0][keep], quantized[0][keep])


@pytest.mark.parametrize("stages", [1, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_rvq_equals_residual_vq(vqp, stages, shared):
    z, codes = normal(1, 2000, 8), normal(1 if shared else stages, 64, 8, seed=1)
    theirs = vqp.ResidualVQ(
        dim=8,
        num_quantizers=stages,
        codebook_size=64,
        shared_codebook=shared,
        rotation_trick=False,
        commitment_weight=0.4,
    )
    for layer, codebook in zip(theirs.layers, codes.expand(stages, -1, -1), strict=True):
        layer.codebook = codebook
    ours = build(
        "rvq",
        latent_channels=8,
        codebook_size=64,
        stages=stages,
        shared=shared,
        commitment_weight=0.4,
    )
    ours.load_state_dict({f"quantizers.{k}.codebook": code for k, code in enumerate(codes)})
    quantized, indices, _ = theirs.eval()(z)
    output = ours(z.mT)
    keep = clear_in_every_stage(z[0], codes.expand(stages, -1, -1))
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices[0][keep])
    torch.testing.assert_close(output.quantized.mT[0][keep], quantized[0][keep], rtol=0, atol=1e-6)
    decoded = theirs.get_output_from_indices(output.indices.mT)
    torch.testing.assert_close(output.quantized.mT, decoded, rtol=0, atol=1e-6)

    _, _, losses = theirs.train()(z, freeze_codebook=True)
    torch.testing.assert_close(output.losses["commitment"], losses.sum(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("levels", [(8, 8, 8, 4), (4,) * 5, (5, 3)], ids=str)
def test_rfsq_equals_stages_of_fsq(vqp, levels):
    """Their ResidualFSQ has other grids and fixed scales, so their FSQ is put in stages here."""
    theirs, scales = vqp.FSQ(list(levels)).eval(), torch.tensor([0.7, 2.0, 9.0])
    ours = build("rfsq", levels=levels, stages=3)
    ours.load_state_dict({"log_scales": scales.log()})
    z = normal(1, 5000, len(levels))
    residual, indices = z, []
    keep = torch.ones(5000, dtype=torch.bool)
    for scale in ours.log_scales.exp().detach():
        code, index = theirs(residual * scale)
        bounded = build("fsq", levels=levels)._bound(residual * scale)
        keep &= ((bounded - bounded.floor() - 0.5).abs() > 1e-5).all(dim=-1)[0]
        residual = residual - code / scale
        indices.append(index.long())
    output = ours(z.mT)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], torch.stack(indices, dim=-1)[0][keep])
    expected = (z - residual)[0][keep]
    torch.testing.assert_close(output.quantized.mT[0][keep], expected, rtol=0, atol=1e-5)
