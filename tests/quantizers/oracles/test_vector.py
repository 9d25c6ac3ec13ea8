"""Cosine VQ, SimVQ and EMA-VQ equal vector-quantize-pytorch 1.32.0.

Indices are compared by the margin rule: see margin.py.
"""

import pytest
import torch
import torch.nn.functional as F
from margin import clear, normal
from two_processes import results_of

from quantizers import build

pytestmark = pytest.mark.oracle


def test_cosine_vq_equals_vector_quantize_with_cosine_similarity(vqp):
    z, codes = normal(1, 2000, 16), F.normalize(normal(1024, 16, seed=1), dim=-1)
    theirs = vqp.VectorQuantize(dim=16, codebook_size=1024, use_cosine_sim=True).eval()
    theirs.codebook = codes
    ours = build("cosine_vq", latent_channels=16, codebook_size=1024)
    ours.load_state_dict({"codebook": codes})
    quantized, indices, _ = theirs(z)
    output = ours(z.mT)
    keep = clear(F.normalize(z, dim=-1), codes)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices.squeeze(1)[keep], indices[keep])
    torch.testing.assert_close(output.quantized.mT[keep], quantized[keep], rtol=0, atol=1e-6)


def test_simvq_equals_simvq(vqp):
    theirs = vqp.SimVQ(dim=16, codebook_size=512, rotation_trick=False).train()
    ours = build("simvq", latent_channels=16, codebook_size=512)
    weight = theirs.code_transform.weight
    ours.load_state_dict({"core": theirs.frozen_codebook, "projection.weight": weight.detach()})
    latents = [normal(1, 2000, 16).requires_grad_(), normal(1, 2000, 16).requires_grad_()]
    quantized, indices, loss = theirs(latents[0])
    output = ours(latents[1].mT)
    keep = clear(latents[0].detach(), theirs.codebook.detach())
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices.squeeze(1)[keep], indices[keep])
    torch.testing.assert_close(output.quantized.mT[keep], quantized[keep], rtol=0, atol=1e-6)
    decoded = theirs.indices_to_codes(output.indices.squeeze(1))
    torch.testing.assert_close(ours.dequantize(output.indices).mT, decoded, rtol=0, atol=1e-6)
    total = sum(output.losses.values())
    torch.testing.assert_close(total, loss)
    expected = torch.autograd.grad(loss, [latents[0], weight])
    gradients = torch.autograd.grad(total, [latents[1], ours.projection.weight])
    for gradient, value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-4, atol=1e-8)


def test_ema_vq_equals_vector_quantize_over_several_steps(vqp):
    codes = normal(64, 8, seed=1)
    theirs = vqp.VectorQuantize(
        dim=8, codebook_size=64, decay=0.9, eps=1e-5, rotation_trick=False, commitment_weight=0.25
    ).train()
    theirs.codebook = codes
    theirs._codebook.embed_avg.copy_(codes)  # its averages start as if each code was chosen once
    ours = build("ema_vq", latent_channels=8, codebook_size=64, decay=0.9, revival_threshold=0.0)
    ours.load_state_dict(
        {"codebook": codes, "cluster_sums": codes, "cluster_sizes": torch.ones(64)}
    )
    for number in range(5):
        z = normal(1, 500, 8, seed=10 + number)
        _, indices, loss = theirs(z)
        output = ours.train()(z.mT)
        ours.update()
        assert torch.equal(output.indices.squeeze(1), indices)
        torch.testing.assert_close(output.losses["commitment"], loss.squeeze())
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.cluster_sizes, theirs._codebook.cluster_size[0])


def test_in_two_processes_ema_vq_equals_vector_quantize(vqp, tmp_path):
    first, second = results_of("ema_oracle_in_processes.py", tmp_path)
    assert torch.equal(first["theirs"], second["theirs"])
    for found in (first, second):
        torch.testing.assert_close(found["ours"], found["theirs"], rtol=0, atol=1e-6)
    assert (first["ours"] - normal(32, 3)).abs().max() > 0.1
