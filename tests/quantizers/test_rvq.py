"""Facts of residual vector quantization: Lee et al. 2022 (RQ-VAE), section 3.1."""

import itertools

import pytest
import torch
from torch import Tensor

from quantizers import Quantizer, build
from quantizers.estimators import estimate

STAGES, SIZE, CHANNELS = 3, 7, 4


@pytest.fixture(params=[True, False], ids=["shared", "separate"])
def shared(request):
    return request.param


@pytest.fixture
def codebooks(shared):
    """The codebook of each stage; finer from stage to stage unless shared."""
    if shared:
        return normal(1, SIZE, CHANNELS).expand(STAGES, -1, -1)
    return normal(STAGES, SIZE, CHANNELS) * torch.tensor([1.0, 0.5, 0.25]).view(-1, 1, 1)


@pytest.fixture
def rvq(shared, codebooks):
    rvq = build(
        "rvq",
        latent_channels=CHANNELS,
        codebook_size=SIZE,
        stages=STAGES,
        shared=shared,
        commitment_weight=0.4,
    )
    set_codebooks(rvq, codebooks[:1] if shared else codebooks)
    return rvq


@pytest.fixture
def z():
    return normal(4, CHANNELS, 5, 2, seed=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def set_codebooks(quantizer: Quantizer, codebooks: Tensor) -> None:
    with torch.no_grad():
        for parameter, codebook in zip(quantizer.parameters(), codebooks, strict=True):
            parameter.copy_(codebook)


def greedy(z: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Indices and residuals r_0 ... r_D of every stage, stage first, in float64."""
    residuals, indices = [z.movedim(1, -1).flatten(0, -2).double()], []
    for codebook in codebooks.double():
        indices.append(torch.cdist(residuals[-1], codebook).argmin(dim=-1))
        residuals.append(residuals[-1] - codebook[indices[-1]])
    return torch.stack(indices), torch.stack(residuals)


def test_each_stage_looks_up_what_the_stages_before_it_left(rvq, codebooks, z):
    output = rvq(z)
    indices, residuals = greedy(z, codebooks)
    assert torch.equal(output.indices.movedim(1, 0).flatten(1), indices)
    error = (z - output.quantized).movedim(1, -1).flatten(0, -2).double()
    torch.testing.assert_close(error, residuals[-1], rtol=0, atol=1e-5)


def test_losses_are_those_of_every_stage_on_its_own_residual(rvq, codebooks, z):
    _, residuals = greedy(z, codebooks)
    errors = residuals[1:].square().mean(dim=(1, 2)).sum()  # r_d = r_(d-1) - e(k_d)
    losses = rvq(z).losses
    assert set(losses) == {"codebook", "commitment"}
    torch.testing.assert_close(losses["codebook"].double(), errors, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["commitment"].double(), 0.4 * errors, rtol=1e-5, atol=0)


def test_a_code_learns_from_the_residuals_that_chose_it(rvq, codebooks, z, shared):
    """The losses of later stages move neither the codes nor the latents of earlier ones."""
    indices, residuals = greedy(z, codebooks)
    expected = torch.zeros(STAGES, SIZE, CHANNELS).double()
    for stage in range(STAGES):
        expected[stage].index_add_(0, indices[stage], -2 * residuals[stage + 1] / z.numel())
    expected = expected.sum(dim=0, keepdim=True) if shared else expected
    gradients = torch.autograd.grad(rvq(z).losses["codebook"], list(rvq.parameters()))
    torch.testing.assert_close(torch.stack(gradients).double(), expected, rtol=1e-5, atol=1e-7)


def test_the_commitment_pulls_a_latent_to_every_partial_sum(rvq, codebooks, z):
    """The gradient of beta * sum_d |z - sg[z^(d)]|^2, where z^(d) sums the first d codes."""
    commitment = rvq(z.requires_grad_()).losses["commitment"]
    (gradient,) = torch.autograd.grad(commitment, z)
    _, residuals = greedy(z.detach(), codebooks)
    expected = 2 * 0.4 * residuals[1:].sum(dim=0) / z.numel()
    gradient = gradient.movedim(1, -1).flatten(0, -2).double()
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_the_output_passes_all_stages_unchanged(rvq, z):
    upstream = normal(*z.shape, seed=2)
    rvq(z.requires_grad_()).quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)
    assert all(parameter.grad is None for parameter in rvq.parameters())


@pytest.mark.parametrize("stages", range(1, STAGES + 1))
def test_the_first_stages_alone_decode_to_the_code_of_a_lower_rate(
    rvq, codebooks, z, shared, stages
):
    shorter = build(
        "rvq", latent_channels=CHANNELS, codebook_size=SIZE, stages=stages, shared=shared
    )
    set_codebooks(shorter, codebooks[: 1 if shared else stages])
    indices, expected = rvq(z).indices, shorter(z)
    assert torch.equal(indices[:, :stages], expected.indices)
    assert torch.equal(rvq.dequantize(indices[:, :stages]), expected.quantized)


def test_a_stage_that_holds_the_zero_code_never_adds_error(z):
    rvq = build("rvq", latent_channels=CHANNELS, codebook_size=SIZE, stages=STAGES, shared=False)
    codebooks = normal(STAGES, SIZE, CHANNELS)
    codebooks[:, 0] = 0
    set_codebooks(rvq, codebooks)
    indices = rvq(z).indices
    errors = [
        (z - rvq.dequantize(indices[:, :stages])).square().sum(dim=1)
        for stages in range(1, STAGES + 1)
    ]
    assert (errors[0] <= z.square().sum(dim=1) + 1e-5).all()
    assert all((fine <= coarse + 1e-5).all() for coarse, fine in itertools.pairwise(errors))


def test_a_shared_codebook_is_one_parameter_and_its_codes_commute():
    rvq = build("rvq", codebook_size=SIZE, stages=2)
    assert [tuple(parameter.shape) for parameter in rvq.parameters()] == [(SIZE, 8)]
    assert list(rvq.state_dict()) == ["quantizers.0.codebook"]
    one, other = torch.tensor([[2, 5]]), torch.tensor([[5, 2]])
    assert torch.equal(rvq.dequantize(one), rvq.dequantize(other))


def test_separate_codebooks_start_with_codes_of_their_own():
    first, second = build("rvq", codebook_size=SIZE, stages=2, shared=False).parameters()
    assert not torch.equal(first, second)


def test_the_default_commitment_weight_is_a_quarter(z):
    losses = build("rvq", latent_channels=CHANNELS, codebook_size=SIZE, stages=2)(z).losses
    torch.testing.assert_close(losses["commitment"], losses["codebook"] / 4)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation", "diveq"])
def test_the_estimator_leads_from_the_latent_to_the_sum_of_the_codes(shared, codebooks, estimator):
    """What it gives to the sum, every stage's code gets."""
    rvq = build(
        "rvq",
        latent_channels=CHANNELS,
        codebook_size=SIZE,
        stages=STAGES,
        shared=shared,
        estimator=estimator,
    )
    set_codebooks(rvq, codebooks[:1] if shared else codebooks)
    z, upstream = normal(50, CHANNELS, seed=3).requires_grad_(), normal(50, CHANNELS, seed=4)
    output = rvq(z)
    leaves = codebooks.clone().requires_grad_()
    code = sum(leaves[stage][output.indices[:, stage]] for stage in range(STAGES))
    expected_z, expected_codes = torch.autograd.grad(
        estimate(estimator, z, code), (z, leaves), upstream, materialize_grads=True
    )
    found_z, *found_codes = torch.autograd.grad(
        output.quantized, [z, *rvq.parameters()], upstream, materialize_grads=True
    )
    torch.testing.assert_close(found_z, expected_z, rtol=1e-4, atol=1e-5)
    if shared:
        expected_codes = expected_codes.sum(dim=0, keepdim=True)
    torch.testing.assert_close(torch.stack(found_codes), expected_codes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stages": 0}, "RVQ needs at least 1 stage, got 0"),
        ({"codebook_size": 1}, "codebook_size of at least 2, got 1"),
        ({"latent_channels": 0}, "latent_channels must be at least 1, got 0"),
        ({"commitment_weight": -0.1}, "commitment_weight must be .* got -0.1"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("rvq", **{"codebook_size": 4, "stages": 2} | wrong)
