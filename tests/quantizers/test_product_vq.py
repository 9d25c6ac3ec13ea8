"""Facts of product quantization: Jégou, Douze, Schmid 2011, section II-B."""

import pytest
import torch
from torch import Tensor

from quantizers import Quantizer, build
from quantizers.estimators import estimate

GROUPS, CHANNELS, SIZE = 3, 2, 4


@pytest.fixture
def product_vq():
    product_vq = build(
        "product_vq",
        groups=GROUPS,
        group_channels=CHANNELS,
        codebook_size=SIZE,
        commitment_weight=0.4,
    )
    set_codebooks(product_vq, normal(GROUPS, SIZE, CHANNELS))
    return product_vq


@pytest.fixture
def z():
    return normal(4, GROUPS * CHANNELS, 5, 2, seed=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def set_codebooks(quantizer: Quantizer, codebooks: Tensor) -> None:
    with torch.no_grad():
        for parameter, codebook in zip(quantizer.parameters(), codebooks, strict=True):
            parameter.copy_(codebook)


def test_the_search_equals_brute_force_over_the_product_of_the_codebooks(product_vq, z):
    every = torch.cartesian_prod(*[torch.arange(SIZE)] * GROUPS)
    codes = torch.cat([normal(GROUPS, SIZE, CHANNELS)[g, every[:, g]] for g in range(GROUPS)], 1)
    latents = z.movedim(1, -1)
    best = (latents[..., None, :] - codes).double().square().sum(dim=-1).argmin(dim=-1)
    output = product_vq(z)
    assert torch.equal(output.indices.movedim(1, -1), every[best])
    assert torch.equal(output.quantized.movedim(1, -1), codes[best])


def test_losses_and_their_gradients_are_those_of_vq_over_the_product(product_vq, z):
    output = product_vq(z.requires_grad_())
    error = (output.quantized - z).detach().double()
    mean_square = error.square().mean()
    assert set(output.losses) == {"codebook", "commitment"}
    torch.testing.assert_close(output.losses["codebook"].double(), mean_square)
    torch.testing.assert_close(output.losses["commitment"].double(), 0.4 * mean_square)

    codebooks = list(product_vq.parameters())
    gradients = torch.autograd.grad(output.losses["codebook"], codebooks, retain_graph=True)
    parts = error.movedim(1, -1).flatten(0, -2).split(CHANNELS, dim=-1)
    indices = output.indices.movedim(1, -1).flatten(0, -2).unbind(dim=-1)
    for gradient, index, part in zip(gradients, indices, parts, strict=True):
        expected = torch.zeros(SIZE, CHANNELS).double().index_add(0, index, 2 * part / z.numel())
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-8)
    (gradient,) = torch.autograd.grad(output.losses["commitment"], z)
    expected = -2 * 0.4 * error / z.numel()
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-8)


def test_groups_and_codebooks_permuted_together_permute_indices_and_codes(product_vq, z):
    before = product_vq(z)
    order = [2, 0, 1]
    set_codebooks(product_vq, normal(GROUPS, SIZE, CHANNELS)[order])
    after = product_vq(z.unflatten(1, (GROUPS, CHANNELS))[:, order].flatten(1, 2))
    assert torch.equal(after.indices, before.indices[:, order])
    expected = before.quantized.unflatten(1, (GROUPS, CHANNELS))[:, order].flatten(1, 2)
    assert torch.equal(after.quantized, expected)


def test_the_gradient_of_the_output_passes_every_group_unchanged(product_vq, z):
    upstream = normal(*z.shape, seed=2)
    product_vq(z.requires_grad_()).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)
    assert all(parameter.grad is None for parameter in product_vq.parameters())


def test_each_group_starts_with_codes_of_its_own():
    first, second = build("product_vq", groups=2, group_channels=3, codebook_size=8).parameters()
    assert not torch.equal(first, second)


def test_a_rate_of_many_bits_stores_the_codes_of_the_groups_only():
    product_vq = build("product_vq", groups=8, group_channels=2, codebook_size=256)
    assert product_vq.bits_per_position == 64
    assert sum(parameter.numel() for parameter in product_vq.parameters()) == 8 * 256 * 2


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("product_vq", groups=2, group_channels=3, codebook_size=4)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


@pytest.mark.parametrize("estimator", ["rotation", "diveq"])
def test_the_estimator_leads_from_subvector_to_code_in_each_group(z, estimator):
    product_vq = build(
        "product_vq",
        groups=GROUPS,
        group_channels=CHANNELS,
        codebook_size=SIZE,
        estimator=estimator,
    )
    set_codebooks(product_vq, normal(GROUPS, SIZE, CHANNELS))
    output, upstream = product_vq(z.requires_grad_()), normal(*z.shape, seed=2)
    (found,) = torch.autograd.grad(output.quantized, z, upstream)
    groups = zip(
        z.detach().split(CHANNELS, dim=1),
        output.quantized.detach().split(CHANNELS, dim=1),
        upstream.split(CHANNELS, dim=1),
        found.split(CHANNELS, dim=1),
        strict=True,
    )
    for subvector, code, of_output, gradient in groups:
        u = subvector.movedim(1, -1).requires_grad_()
        again = estimate(estimator, u, code.movedim(1, -1))
        (expected,) = torch.autograd.grad(again, u, of_output.movedim(1, -1))
        torch.testing.assert_close(gradient.movedim(1, -1), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "groups >= 1, .* got 0, 3 and 4"),
        ({"group_channels": 0}, "group_channels >= 1 .* got 2, 0 and 4"),
        ({"codebook_size": 1}, "product VQ needs .* codebook_size >= 2, got 2, 3 and 1"),
        ({"commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("product_vq", **{"groups": 2, "group_channels": 3, "codebook_size": 4} | wrong)
