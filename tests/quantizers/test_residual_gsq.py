"""Facts of residual GSQ: RQ-VAE (2203.01941) with GSQ (2412.02632) as its stages."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quantizers import Quantizer, build

STAGES, GROUPS, SIZE, CHANNELS = 3, 2, 7, 4


@pytest.fixture(params=[True, False], ids=["shared", "separate"])
def shared(request):
    return request.param


@pytest.fixture
def codebooks(shared):
    """Rows of each stage and group, (STAGES, GROUPS, SIZE, CHANNELS); finer from stage to stage."""
    rows = normal(STAGES, 1 if shared else GROUPS, SIZE, CHANNELS)
    return rows * torch.tensor([3.0, 0.5, 0.25]).view(-1, 1, 1, 1)


@pytest.fixture
def quantizer(shared, codebooks):
    return make(codebooks, shared=shared, commitment_weight=0.4)


@pytest.fixture
def z():
    return normal(4, GROUPS * CHANNELS, 5, 2, seed=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(codebooks: Tensor, **options: object) -> Quantizer:
    shape = {"groups": GROUPS, "group_channels": CHANNELS, "codebook_size": SIZE}
    with torch.random.fork_rng():
        quantizer = build("residual_gsq", stages=len(codebooks), **shape, **options)
    with torch.no_grad():
        for parameter, codebook in zip(quantizer.parameters(), codebooks, strict=True):
            parameter.copy_(codebook)
    return quantizer


def flat(x: Tensor) -> Tensor:
    """(b, G d, *spatial) as positions, groups and channels in float64."""
    return x.detach().movedim(1, -1).flatten(0, -2).unflatten(-1, (GROUPS, CHANNELS)).double()


def greedy(z: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (stage, position, group) and residuals r_0 ... r_D by enumeration in float64."""
    codes = codebooks.double().expand(-1, GROUPS, -1, -1).clone()
    codes[0] = F.normalize(codes[0], dim=-1)
    residuals, indices = [F.normalize(flat(z), dim=-1)], []
    for stage in codes:
        errors = residuals[-1][:, :, None] - stage  # (position, group, code, channel)
        indices.append(errors.square().sum(dim=-1).argmin(dim=-1))
        chosen = indices[-1][..., None, None].expand(-1, -1, 1, CHANNELS)
        residuals.append(errors.gather(2, chosen).squeeze(2))
    return torch.stack(indices), torch.stack(residuals)


@pytest.mark.parametrize(
    "options", [{}, {"shared": False, "commitment_weight": 0.4}], ids=["defaults", "separate"]
)
def test_one_stage_is_gsq_bit_for_bit(z, options):
    shape = {"groups": GROUPS, "group_channels": CHANNELS, "codebook_size": SIZE}
    results = []
    for name, more in (("residual_gsq", {"stages": 1}), ("gsq", {})):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            quantizer = build(name, **shape, **options, **more)
        latent = z.clone().requires_grad_()
        output = quantizer(latent)
        loss = (output.quantized * normal(*z.shape, seed=2)).sum() + sum(output.losses.values())
        (codebook,) = quantizer.parameters()
        results.append((output, *torch.autograd.grad(loss, [latent, codebook])))
    (ours, *our_gradients), (theirs, *their_gradients) = results
    assert torch.equal(ours.quantized, theirs.quantized)
    assert torch.equal(ours.indices, theirs.indices)
    assert dict(ours.losses) == dict(theirs.losses)
    assert all(map(torch.equal, our_gradients, their_gradients))


def test_every_stage_looks_up_the_true_residual_of_the_direction(quantizer, codebooks, z):
    output = quantizer(z)
    indices, residuals = greedy(z, codebooks)
    found = output.indices.unflatten(1, (STAGES, GROUPS)).movedim((1, 2), (0, -1)).flatten(1, -2)
    assert torch.equal(found, indices)
    error = F.normalize(flat(z), dim=-1) - flat(output.quantized)
    torch.testing.assert_close(error, residuals[-1], rtol=0, atol=1e-5)


def test_losses_are_the_sums_over_all_stages(quantizer, codebooks, z):
    _, residuals = greedy(z, codebooks)
    errors = residuals[1:].square().mean(dim=(1, 2, 3)).sum()
    losses = quantizer(z).losses
    assert set(losses) == {"codebook", "commitment"}
    torch.testing.assert_close(losses["codebook"].double(), errors, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["commitment"].double(), 0.4 * errors, rtol=1e-5, atol=0)


def test_a_code_learns_from_the_residuals_that_chose_it(quantizer, codebooks, z, shared):
    """Those of stages after the first: -2 r_s / n. The losses of later stages move no other."""
    indices, residuals = greedy(z, codebooks)
    gradients = torch.autograd.grad(quantizer(z).losses["codebook"], list(quantizer.parameters()))
    for stage in range(1, STAGES):
        expected = torch.zeros(GROUPS, SIZE, CHANNELS).double()
        for group in range(GROUPS):
            moves = -2 * residuals[stage + 1][:, group] / z.numel()
            expected[group].index_add_(0, indices[stage][:, group], moves)
        expected = expected.sum(dim=0, keepdim=True) if shared else expected
        torch.testing.assert_close(gradients[stage].double(), expected, rtol=1e-5, atol=1e-7)
    alone = make(codebooks[:1], shared=shared)
    (first,) = torch.autograd.grad(alone(z).losses["codebook"], list(alone.parameters()))
    assert torch.equal(gradients[0], first)


def test_gradients_pass_the_normalisation_once(quantizer, codebooks, z):
    """Of the output as of u; of the commitment as of beta * sum_s |u - sg[u^(s)]|^2."""
    upstream = normal(*z.shape, seed=2)
    output = quantizer(z.requires_grad_())
    of_output, of_loss = (
        torch.autograd.grad(value, z, retain_graph=True)[0]
        for value in ((output.quantized * upstream).sum(), output.losses["commitment"])
    )
    latents = flat(z).requires_grad_()
    u = F.normalize(latents, dim=-1)
    (expected,) = torch.autograd.grad(u, latents, flat(upstream), retain_graph=True)
    torch.testing.assert_close(flat(of_output), expected, rtol=1e-4, atol=1e-6)
    pull = 2 * 0.4 * greedy(z, codebooks)[1][1:].sum(dim=0) / z.numel()
    (expected,) = torch.autograd.grad(u, latents, pull)
    torch.testing.assert_close(flat(of_loss), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("stages", range(1, STAGES + 1))
def test_the_first_stages_decode_alone_to_the_code_of_a_lower_rate(
    quantizer, codebooks, z, shared, stages
):
    fewer = make(codebooks[:stages], shared=shared)
    output, expected = quantizer(z), fewer(z)
    indices = output.indices[:, : GROUPS * stages]
    assert torch.equal(indices, expected.indices)
    assert torch.equal(quantizer.dequantize(indices), expected.quantized)


def test_with_a_zero_code_in_later_stages_the_error_never_grows(codebooks, shared, z):
    codebooks[1:, :, 3] = 0
    codebooks[1:] *= 4  # long codes, which would often make it grow
    quantizer = make(codebooks, shared=shared)
    indices, errors = quantizer(z).indices, []
    for stages in range(1, STAGES + 1):
        code = quantizer.dequantize(indices[:, : GROUPS * stages])
        errors.append((F.normalize(flat(z), dim=-1) - flat(code)).norm(dim=-1))
    assert (errors[1] <= errors[0] + 1e-6).all()
    assert (errors[2] <= errors[1] + 1e-6).all()
    assert (errors[2] < errors[0] - 1e-3).any()


def test_the_length_of_a_latent_does_not_matter(quantizer, z):
    assert torch.equal(quantizer(z * 2.0**70).quantized, quantizer(z).quantized)


def test_codes_start_on_the_sphere_and_later_ones_around_zero():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build("residual_gsq", groups=1, group_channels=8, codebook_size=32, stages=3)
    first, *later = quantizer.parameters()
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(1, 32))
    assert all(0.9 / 32 < codebook.abs().max() <= 1 / 32 for codebook in later)
    assert quantizer.bits_per_position == 15


@pytest.mark.parametrize("rows", [0, 1, 3, 5, 8])
def test_indices_of_half_a_stage_or_of_too_many_are_a_clear_error(quantizer, rows):
    with pytest.raises(
        ValueError, match=rf"first 1 to 3 stages on axis 1, 2 for each stage, got {rows}"
    ):
        quantizer.dequantize(torch.zeros(2, rows, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"stages": 0}, "stages >= 1 and group_channels >= 2, got 0 and 4"),
        ({"group_channels": 1}, "stages >= 1 and group_channels >= 2, got 2 and 1"),
        ({"groups": 0}, "groups >= 1"),
        ({"codebook_size": 1}, "codebook_size >= 2"),
        ({"commitment_weight": -1.0}, r"commitment_weight .* -1\.0"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, words):
    right = {"groups": 2, "group_channels": 4, "codebook_size": 8, "stages": 2}
    with pytest.raises(ValueError, match=words):
        build("residual_gsq", **(right | wrong))
