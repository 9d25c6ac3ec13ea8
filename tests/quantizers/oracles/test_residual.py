"""Residual and scalar methods against classes of vector-quantize-pytorch 1.32.0 of other design.

Their stages have fixed scales, so each test says by which setting a method of ours does the same.
Finite scalar perturbation, which adds noise in place of rounding, has no counterpart here.
"""

import math

import pytest
import torch
from margin import clear_in_every_stage, normal
from torch import Tensor

from quantizers import Quantizer, build

pytestmark = pytest.mark.oracle

TOKENS = 2000


def rvq_of(codebooks: Tensor) -> Quantizer:
    """RVQ with a given codebook in each stage."""
    stages, size, channels = codebooks.shape
    ours = build("rvq", latent_channels=channels, codebook_size=size, stages=stages, shared=False)
    ours.load_state_dict({f"quantizers.{k}.codebook": code for k, code in enumerate(codebooks)})
    return ours.eval()


@pytest.mark.parametrize(("levels", "stages"), [((5, 5, 5), 3), ((3, 3), 4), ((7,), 2)], ids=str)
def test_rfsq_with_scales_of_powers_of_odd_levels_equals_residual_fsq(vqp, levels, stages):
    """Away from the cells' edges, where our range is 0.1 % wider."""
    theirs = vqp.ResidualFSQ(
        levels=list(levels), num_quantizers=stages, bound_hard_clamp=False
    ).eval()
    ours = build("rfsq", levels=levels, stages=stages).eval()
    ours.load_state_dict({"log_scales": math.log(levels[0]) * torch.arange(stages)})
    z = normal(1, TOKENS, len(levels))
    quantized, indices = theirs(z)
    output = ours(z.mT)
    keep, residual = torch.ones(TOKENS, dtype=torch.bool), z[0]
    for stage in range(stages):
        bounded = (residual * levels[0] ** stage).tanh() * (levels[0] // 2)
        keep &= ((bounded - bounded.floor() - 0.5).abs() > 2e-3 * levels[0]).all(dim=-1)
        residual = residual - bounded.round() / (levels[0] // 2) / levels[0] ** stage
    assert keep.float().mean() > 0.8
    assert torch.equal(output.indices[0].T[keep], indices[0][keep].long())
    torch.testing.assert_close(output.quantized[0].T[keep], quantized[0][keep], rtol=0, atol=1e-6)
    decoded = theirs.get_output_from_indices(output.indices.mT)
    torch.testing.assert_close(ours.dequantize(output.indices).mT, decoded, rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [(8, 5, 6), (4, 4), (2, 3)], ids=str)
def test_the_stages_of_residual_fsq_are_symmetric_fsq_of_the_scaled_residual(vqp, levels):
    """They clamp where FSQ has a tanh, so that each stage sees the inverse tanh of its residual."""
    theirs = vqp.ResidualFSQ(levels=list(levels), num_quantizers=3).eval()
    ours = build("fsq", levels=levels, symmetric=True).eval()
    quantized, indices = theirs(normal(1, TOKENS, len(levels)))
    assert torch.equal(theirs.get_output_from_indices(indices), quantized)
    range_ = 1 + 1 / (torch.tensor(levels) - 1)
    residual = (normal(1, TOKENS, len(levels)) / range_).tanh() * range_
    decoded = torch.zeros_like(residual)
    for stage, scale in enumerate(theirs.scales):
        scaled = (residual / scale).clamp(-1, 1)
        output = ours(scaled.clamp(-1 + 1e-6, 1 - 1e-6).atanh().mT)
        places = (scaled + 1) / 2 * (torch.tensor(levels) - 1) + 0.5
        keep = ((places - places.round()).abs() > 1e-4).all(dim=-1)
        assert keep.float().mean() > 0.9
        assert torch.equal(output.indices.squeeze(1)[keep], indices[..., stage][keep].long())
        code = ours.dequantize(indices[:, None, :, stage].long()).mT * scale
        residual, decoded = residual - code, decoded + code
    torch.testing.assert_close(decoded, quantized, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("bits", "stages"), [(6, 3), (1, 5), (10, 2)])
def test_rvq_over_halved_cubes_equals_residual_lfq(vqp, bits, stages):
    """Each stage is LFQ of the scaled residual; the nearest corner of a cube is its signs."""
    theirs = vqp.ResidualLFQ(dim=bits, codebook_size=2**bits, num_quantizers=stages).eval()
    lfq = build("lfq", latent_channels=bits, entropy_weight=0.0)
    corners = lfq.dequantize(torch.arange(2**bits)[:, None])
    codebooks = torch.stack([corners / 2**stage for stage in range(stages)])
    assert torch.equal(codebooks, theirs.codebooks)
    z = normal(1, TOKENS, bits)
    quantized, indices, _ = theirs(z)
    output = rvq_of(codebooks)(z.mT)
    keep = clear_in_every_stage(z[0], codebooks)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices[0][keep])
    assert torch.equal(output.quantized[0].T[keep], quantized[0][keep])
    assert torch.equal(theirs.get_output_from_indices(indices), quantized)
    residual = z
    for stage in range(stages):
        signs = lfq(residual.mT)
        assert torch.equal(signs.indices.squeeze(1), indices[..., stage])
        residual = residual - signs.quantized.mT / 2**stage


@pytest.mark.parametrize("stages", [1, 3])
def test_rvq_of_mapped_codebooks_equals_residual_simvq(vqp, stages):
    """Each stage is SimVQ of the residual."""
    theirs = vqp.ResidualSimVQ(
        dim=16, codebook_size=256, num_quantizers=stages, rotation_trick=False
    ).eval()
    codebooks = theirs.codebooks.detach()
    z = normal(1, TOKENS, 16)
    quantized, indices, _ = theirs(z)
    output = rvq_of(codebooks)(z.mT)
    keep = clear_in_every_stage(z[0], codebooks)
    assert keep.float().mean() > 0.99
    assert torch.equal(output.indices[0].T[keep], indices[0][keep])
    torch.testing.assert_close(output.quantized[0].T[keep], quantized[0][keep], rtol=0, atol=2e-6)
    decoded = theirs.get_output_from_indices(output.indices.mT)
    torch.testing.assert_close(output.quantized.mT, decoded, rtol=0, atol=2e-6)
    residual = z
    for stage, layer in enumerate(theirs.layers):
        ours = build("simvq", latent_channels=16, codebook_size=256)
        weight = layer.code_transform.weight.detach()
        ours.load_state_dict({"core": layer.frozen_codebook, "projection.weight": weight})
        found = ours.eval()(residual.mT)
        assert torch.equal(found.indices.squeeze(1)[0][keep], indices[0, :, stage][keep])
        residual = residual - found.quantized.mT.detach()


def test_a_group_of_grouped_residual_vq_is_rvq_of_its_channels(vqp):
    theirs = vqp.GroupedResidualVQ(
        dim=16, groups=2, num_quantizers=3, codebook_size=64, rotation_trick=False
    )
    codebooks = normal(2, 3, 64, 8, seed=1)
    for group, stages in zip(theirs.rvqs, codebooks, strict=True):
        for layer, codebook in zip(group.layers, stages, strict=True):
            layer.codebook = codebook
    z = normal(1, TOKENS, 16)
    quantized, indices, _ = theirs.eval()(z)
    for group, latents in enumerate(z.chunk(2, dim=-1)):
        output = rvq_of(codebooks[group])(latents.mT)
        keep = clear_in_every_stage(latents[0], codebooks[group])
        assert keep.float().mean() > 0.99
        assert torch.equal(output.indices[0].T[keep], indices[group, 0][keep])
        expected = quantized[0].chunk(2, dim=-1)[group]
        torch.testing.assert_close(output.quantized[0].T[keep], expected[keep], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("levels", "channels"), [(8, 4), (5, 3), (2, 6), (16, 2)])
def test_product_vq_of_scalars_equals_latent_quantize(vqp, levels, channels):
    """One learned codebook of scalars a channel, each starting as a grid from -1/2."""
    theirs = vqp.LatentQuantize(levels=[levels] * channels, dim=channels).eval()
    ours = build("product_vq", groups=channels, group_channels=1, codebook_size=levels).eval()
    values = [value.detach() for value in theirs.values_per_latent]
    ours.load_state_dict(
        {f"subquantizers.{g}.codebook": value[:, None] for g, value in enumerate(values)}
    )
    z = 0.4 * normal(1, channels, TOKENS)
    quantized, indices, _ = theirs(z)
    output = ours(z)
    torch.testing.assert_close(output.quantized, quantized, rtol=0, atol=1e-6)
    packed = (output.indices * levels ** torch.arange(channels)[:, None]).sum(dim=1)
    exact = (output.quantized == quantized).all(dim=1)  # theirs truncate a value that is not
    assert exact.float().mean() > 0.2
    assert torch.equal(packed[exact], indices[exact].long())
    if levels % 2 == 0:
        decoded = theirs.indices_to_codes(packed)
        torch.testing.assert_close(ours.dequantize(output.indices), decoded, rtol=0, atol=1e-6)


def test_latent_quantize_with_a_projection_is_product_vq_between_two_linear_layers(vqp):
    theirs = vqp.LatentQuantize(levels=[8] * 4, dim=16).eval()
    ours = build("product_vq", groups=4, group_channels=1, codebook_size=8).eval()
    ours.load_state_dict(
        {
            f"subquantizers.{g}.codebook": value.detach()[:, None]
            for g, value in enumerate(theirs.values_per_latent)
        }
    )
    z = normal(1, 16, TOKENS)
    output = ours(theirs.project_in(z.mT).mT)
    expected = theirs.project_out(output.quantized.mT).mT
    torch.testing.assert_close(theirs(z)[0], expected, rtol=0, atol=1e-6)
