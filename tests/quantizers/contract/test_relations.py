"""Methods that are special cases of one another: theorems, checked on values and gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from margin import normal
from torch import Tensor

from quantizers import Quantizer, QuantizerOutput, build


@pytest.fixture
def z() -> Tensor:
    return normal(5, 8, 4, 3, seed=0)


def set_parameters(quantizer: Quantizer, *values: Tensor) -> None:
    with torch.no_grad():
        for parameter, value in zip(quantizer.parameters(), values, strict=True):
            parameter.copy_(value)


def both(
    ours: Quantizer, theirs: Quantizer, z: Tensor
) -> tuple[tuple[QuantizerOutput, Tensor], tuple[QuantizerOutput, Tensor]]:
    """Outputs of two quantizers, and the gradients of the same loss at the latent."""
    upstream = normal(*z.shape, seed=9)
    results = []
    for quantizer in (ours, theirs):
        latent = z.clone().requires_grad_()
        output = quantizer(latent)
        loss = (output.quantized * upstream).sum() + sum(output.losses.values())
        loss.backward()
        results.append((output, latent.grad))
    return results[0], results[1]


def assert_same(ours: Quantizer, theirs: Quantizer, z: Tensor) -> None:
    """Bit for bit: codes, indices, losses, gradients."""
    (output, gradient), (expected, expected_gradient) = both(ours, theirs, z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert dict(output.losses) == dict(expected.losses)
    assert torch.equal(gradient, expected_gradient)


def test_gsq_with_one_group_is_cosine_vq(z):
    gsq = build("gsq", groups=1, group_channels=8, codebook_size=16, commitment_weight=0.5)
    cosine_vq = build("cosine_vq", latent_channels=8, codebook_size=16, commitment_weight=0.5)
    codes = normal(16, 8, seed=1)
    set_parameters(gsq, codes[None])
    set_parameters(cosine_vq, codes)
    assert_same(gsq, cosine_vq, z)
    assert torch.equal(gsq.codebook.grad[0], cosine_vq.codebook.grad)


def test_gsq_with_a_codebook_a_group_and_no_sphere_is_product_vq(z):
    shape = {"groups": 4, "group_channels": 2, "codebook_size": 6}
    gsq = build("gsq", **shape, shared=False, spherical=False)
    product_vq = build("product_vq", **shape)
    codes = normal(4, 6, 2, seed=1)
    set_parameters(gsq, codes)
    set_parameters(product_vq, *codes)
    (output, gradient), (expected, expected_gradient) = both(gsq, product_vq, z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    torch.testing.assert_close(dict(output.losses), dict(expected.losses))
    torch.testing.assert_close(gradient, expected_gradient)


def test_gsq_with_two_codes_in_one_channel_is_lfq_with_its_commitment(z):
    gsq = build("gsq", groups=8, group_channels=1, codebook_size=2, commitment_weight=0.3)
    set_parameters(gsq, torch.tensor([[[-1.0], [1.0]]]))
    lfq = build("lfq", latent_channels=8, entropy_weight=0.0, commitment_weight=0.3)
    (output, _), (expected, _) = both(gsq, lfq, z)
    assert torch.equal(output.quantized, expected.quantized)
    assert torch.equal(output.losses["commitment"], expected.losses["commitment"])
    grouped = build("grouped_lfq", groups=8, group_channels=1, entropy_weight=0.0)
    assert torch.equal(output.indices, grouped(z).indices)


def test_bsq_is_gsq_with_the_corners_of_the_cube_as_its_frozen_codes(z):
    """All but the factor 1 / sqrt(L) of BSQ's gradient, which its own test derives."""
    bsq = build("bsq", latent_channels=8, entropy_weight=0.0, commitment_weight=0.3)
    gsq = build("gsq", groups=1, group_channels=8, codebook_size=256, commitment_weight=0.3)
    corners = bsq.dequantize(torch.arange(256).view(256, 1, 1)).view(256, 8)
    set_parameters(gsq, corners[None])
    latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
    ours, theirs = bsq(latents[0]), gsq(latents[1])
    assert torch.equal(ours.indices, theirs.indices)
    torch.testing.assert_close(ours.quantized, theirs.quantized)
    torch.testing.assert_close(ours.losses["commitment"], theirs.losses["commitment"])
    upstream = normal(*z.shape, seed=9)
    ours.quantized.backward(upstream)
    theirs.quantized.backward(upstream / math.sqrt(8))
    torch.testing.assert_close(latents[0].grad, latents[1].grad)


def test_bsq_has_the_bits_of_lfq_scaled_to_the_sphere(z):
    bsq, lfq = build("bsq", latent_channels=8)(z), build("lfq", latent_channels=8)(z)
    assert torch.equal(bsq.indices, lfq.indices)
    torch.testing.assert_close(bsq.quantized, lfq.quantized / math.sqrt(8))


def test_group_vq_with_one_group_and_no_bias_is_simvq(z):
    group_vq = build("group_vq", latent_channels=8, codebook_size=16, codebook_groups=1)
    simvq = build("simvq", latent_channels=8, codebook_size=16)
    core, matrix = normal(16, 8, seed=1), normal(8, 8, seed=2)
    group_vq.core.copy_(core[None])
    simvq.core.copy_(core)
    set_parameters(group_vq, matrix[None], torch.zeros(1, 1, 8))
    set_parameters(simvq, matrix.T)
    (output, gradient), (expected, expected_gradient) = both(group_vq, simvq, z)
    assert torch.equal(output.indices, expected.indices)
    torch.testing.assert_close(output.quantized, expected.quantized)
    torch.testing.assert_close(gradient, expected_gradient)
    torch.testing.assert_close(group_vq.projectors.grad[0], simvq.projection.weight.grad.T)


def test_rvq_with_one_stage_is_vq(z):
    rvq = build("rvq", latent_channels=8, codebook_size=16, stages=1, commitment_weight=0.5)
    vq = build("vq", latent_channels=8, codebook_size=16, commitment_weight=0.5)
    set_parameters(rvq, normal(16, 8, seed=1))
    set_parameters(vq, normal(16, 8, seed=1))
    assert_same(rvq, vq, z)


def test_product_vq_with_one_group_is_vq(z):
    shape = {"codebook_size": 16, "commitment_weight": 0.5}
    product_vq = build("product_vq", groups=1, group_channels=8, **shape)
    vq = build("vq", latent_channels=8, **shape)
    set_parameters(product_vq, normal(16, 8, seed=1))
    set_parameters(vq, normal(16, 8, seed=1))
    assert_same(product_vq, vq, z)


def test_ema_vq_looks_up_as_vq_does_and_commits_alike(z):
    ema_vq = build("ema_vq", latent_channels=8, codebook_size=16, commitment_weight=0.5)
    vq = build("vq", latent_channels=8, codebook_size=16, commitment_weight=0.5)
    ema_vq.codebook.copy_(normal(16, 8, seed=1))
    set_parameters(vq, normal(16, 8, seed=1))
    ours, theirs = ema_vq(z), vq(z)
    assert torch.equal(ours.indices, theirs.indices)
    assert torch.equal(ours.quantized, theirs.quantized)
    assert torch.equal(ours.losses["commitment"], theirs.losses["commitment"])
    assert "codebook" not in ours.losses


def test_grouped_lfq_with_one_group_is_lfq(z):
    options = {"temperature": 0.5, "entropy_weight": 0.2, "diversity_weight": 3.0}
    grouped = build("grouped_lfq", groups=1, group_channels=8, **options)
    lfq = build("lfq", latent_channels=8, **options)
    (output, gradient), (expected, expected_gradient) = both(grouped, lfq, z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    torch.testing.assert_close(dict(output.losses), dict(expected.losses))
    torch.testing.assert_close(gradient, expected_gradient)


def test_fsq_with_two_levels_and_without_its_shift_has_the_bits_of_lfq(z):
    """Its two codes are -1 and 0, and its shift puts a zero latent in the middle of the second."""
    shift = math.atanh(0.5 / (0.5 * (1 + 1e-3)))
    fsq, lfq = build("fsq", levels=(2,) * 8)(z - shift), build("lfq", latent_channels=8)(z)
    assert torch.equal(fsq.quantized * 2 + 1, lfq.quantized)
    bits = lfq.indices // 2 ** torch.arange(8).view(-1, 1, 1) % 2  # the last channel first
    weights = 2 ** torch.arange(7, -1, -1).view(-1, 1, 1)
    assert torch.equal(fsq.indices, (bits * weights).sum(dim=1, keepdim=True))


def test_rfsq_with_one_stage_of_scale_one_is_fsq(z):
    rfsq = build("rfsq", levels=(8, 5, 5, 5, 3, 3, 2, 4), stages=1)
    fsq = build("fsq", levels=(8, 5, 5, 5, 3, 3, 2, 4))
    assert_same(rfsq, fsq, z)


def test_ifsq_with_the_steepness_of_tanh_is_fsq_away_from_the_margin(z):
    """FSQ widens the range by a thousandth, so rounding differs within a thousandth of a border."""
    levels = (5, 7, 9, 3, 5, 7, 11, 3)
    ifsq, fsq = build("ifsq", levels=levels, alpha=2.0), build("fsq", levels=levels)
    half = torch.tensor(levels).view(-1, 1, 1) // 2
    place = (z.tanh() * half).frac().abs()
    safe = (place - 0.5).abs() > 1e-3 * half
    assert safe.float().mean() > 0.9
    assert torch.equal(ifsq(z).quantized[safe], fsq(z).quantized[safe])


def test_e8_is_cosine_vq_with_its_roots_as_codes(z):
    e8 = build("e8")
    cosine_vq = build("cosine_vq", latent_channels=8, codebook_size=240)
    set_parameters(cosine_vq, e8.dequantize(torch.arange(240).view(240, 1, 1)).view(240, 8))
    (output, gradient), (expected, _) = both(e8, cosine_vq, z)
    assert torch.equal(output.indices, expected.indices)
    torch.testing.assert_close(output.quantized, expected.quantized)
    latent = z.clone().requires_grad_()
    F.normalize(latent, dim=1).backward(normal(*z.shape, seed=9))
    torch.testing.assert_close(gradient, latent.grad)


def test_e8_with_two_groups_is_gsq_with_its_roots_as_the_shared_codebook():
    z = normal(3, 16, 2, 2, seed=0)
    e8 = build("e8", groups=2)
    roots = build("e8").dequantize(torch.arange(240).view(240, 1, 1)).view(240, 8)
    gsq = build("gsq", groups=2, group_channels=8, codebook_size=240)
    set_parameters(gsq, roots[None])
    assert torch.equal(e8(z).indices, gsq(z).indices)
    torch.testing.assert_close(e8(z).quantized, gsq(z).quantized)


def test_cosine_vq_is_vq_once_latents_and_codes_have_unit_length(z):
    codes = F.normalize(normal(16, 8, seed=1), dim=-1)
    cosine_vq = build("cosine_vq", latent_channels=8, codebook_size=16)
    vq = build("vq", latent_channels=8, codebook_size=16)
    set_parameters(cosine_vq, codes)
    set_parameters(vq, codes)
    unit = F.normalize(z, dim=1)
    ours, theirs = cosine_vq(unit), vq(unit)
    assert torch.equal(ours.indices, theirs.indices)
    torch.testing.assert_close(ours.quantized, theirs.quantized)
    torch.testing.assert_close(dict(ours.losses), dict(theirs.losses))


def test_ibq_selects_as_vq_does_where_all_codes_are_equally_long(z):
    codes = F.normalize(normal(16, 8, seed=1), dim=-1)
    ibq = build("ibq", latent_channels=8, codebook_size=16)
    vq = build("vq", latent_channels=8, codebook_size=16)
    set_parameters(ibq, codes)
    set_parameters(vq, codes)
    assert torch.equal(ibq(z).indices, vq(z).indices)
    assert torch.equal(ibq(z).quantized, vq(z).quantized)


def test_gumbel_vq_in_eval_mode_is_vq_with_the_logits_of_a_distance(z):
    """-|z - e|^2 is <2e, z> - |e|^2 up to a term that all codes share."""
    codes = normal(16, 8, seed=1)
    gumbel_vq = build("gumbel_vq", latent_channels=8, codebook_size=16).eval()
    vq = build("vq", latent_channels=8, codebook_size=16)
    with torch.no_grad():
        gumbel_vq.codebook.copy_(codes)
        gumbel_vq.to_logits.weight.copy_(2 * codes)
        gumbel_vq.to_logits.bias.copy_(-codes.square().sum(dim=1))
    set_parameters(vq, codes)
    assert torch.equal(gumbel_vq(z).indices, vq(z).indices)
    assert torch.equal(gumbel_vq(z).quantized, vq(z).quantized)


def test_kl_in_eval_mode_is_the_continuous_control(z):
    kl, none = build("kl", latent_channels=8).eval(), build("none", latent_channels=8)
    assert torch.equal(kl(z).quantized, none(z).quantized)
