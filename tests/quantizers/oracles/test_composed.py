"""Composed methods against vector-quantize-pytorch 1.32.0, with the margin rule of margin."""

import pytest
import torch
import torch.nn.functional as F
from margin import clear, clear_in_every_stage, clearly_rounded, normal
from torch import Tensor

from quantizers import build

pytestmark = pytest.mark.oracle


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
        bounded = build("fsq", levels=levels)._steps(residual * scale)
        keep &= clearly_rounded(bounded)[0]
        residual = residual - code / scale
        indices.append(index.long())
    output = ours(z.mT)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], torch.stack(indices, dim=-1)[0][keep])
    expected = (z - residual)[0][keep]
    torch.testing.assert_close(output.quantized.mT[0][keep], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 4])
def test_mgvq_equals_vector_quantize_with_separate_cosine_heads(vqp, groups):
    d = 16 // groups
    z, codes = normal(1, 2000, 16), F.normalize(normal(groups, 256, d, seed=1), dim=-1)
    theirs = vqp.VectorQuantize(
        dim=16,
        heads=groups,
        codebook_dim=d,
        codebook_size=256,
        use_cosine_sim=True,
        separate_codebook_per_head=True,
    ).eval()
    theirs._codebook.embed.copy_(codes)
    ours = build("mgvq", groups=groups, group_channels=d, codebook_size=256)
    state = {f"subquantizers.{g}.codebook": codes[g] for g in range(groups)}
    ours.load_state_dict(state | {"usage": torch.zeros(groups, 256)})
    quantized, indices, _ = theirs(z)
    output = ours(z.mT)
    latents = F.normalize(z[0].unflatten(-1, (groups, d)).transpose(0, 1), dim=-1)
    keep = clear(latents, codes).all(dim=0)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices.view(2000, groups)[keep])
    torch.testing.assert_close(output.quantized.mT[0][keep], quantized[0][keep], rtol=0, atol=1e-6)


def test_fvq_equals_vector_quantize_with_the_same_bridge(vqp):
    """Their one loss has the gradients of the two here, at a commitment weight of 1."""
    ours = build(
        "fvq",
        latent_channels=8,
        codebook_size=256,
        commitment_weight=1.0,
        bridge_tokens=16,
        bridge_channels=32,
    )

    class Bridge(torch.nn.Module):
        def forward(self, codebook: Tensor) -> Tensor:
            tokens = ours.compress(codebook.view(16, -1)) + ours.positions
            return ours.recover(ours.process(tokens)).view(1, 256, 8)

    theirs = vqp.VectorQuantize(
        dim=8,
        codebook_size=256,
        commitment_weight=1.0,
        rotation_trick=False,
        vq_bridge=Bridge(),
    ).train()
    core = theirs._codebook.embed
    ours.load_state_dict(ours.state_dict() | {"core": core.detach()[0]})
    z = normal(1, 500, 8)
    z = z[:, clear(z[0], ours.codebook.detach())]
    assert z.shape[1] > 400
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    quantized, indices, loss = theirs(latents[0])
    output = ours(latents[1].mT)
    assert torch.equal(output.indices.squeeze(1), indices)
    torch.testing.assert_close(output.quantized.mT, quantized, rtol=0, atol=1e-6)
    bridge = [ours.compress.weight, ours.positions, ours.recover.bias]
    expected = torch.autograd.grad(loss.sum(), [latents[0], core, *bridge])
    gradients = torch.autograd.grad(sum(output.losses.values()), [latents[1], ours.core, *bridge])
    torch.testing.assert_close(gradients[1][None], expected[1], rtol=1e-4, atol=1e-8)
    for place in (0, 2, 3, 4):
        torch.testing.assert_close(gradients[place], expected[place], rtol=1e-4, atol=1e-7)
