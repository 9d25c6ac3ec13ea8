"""Facts of FSQ: Mentzer et al. 2024, section 3.1 and appendix A.1."""

import math

import pytest
import torch
from torch import Tensor
from unchecked import build_unchecked

from quantizers import build

RECOMMENDED = {
    (8, 6, 5): 240,
    (8, 5, 5, 5): 1000,
    (7, 5, 5, 5, 5): 4375,
    (8, 8, 8, 6, 5): 15360,
    (8, 8, 8, 5, 5, 5): 64000,
}


def grid(levels: int) -> Tensor:
    """The values of one channel, lowest first: steps of 1 / (levels // 2) that include zero."""
    half = levels // 2
    return torch.tensor([(digit - half) / half for digit in range(levels)])


@pytest.mark.parametrize("levels", [*range(2, 17), 17, 100, 1000, 1001, 1024, 5000])
def test_a_channel_takes_exactly_its_levels(levels):
    fsq = build("fsq", levels=(levels,))
    bounds = torch.linspace(-1, 1, 40 * levels, dtype=torch.float64)[1:-1].atanh()
    z = torch.cat([bounds - fsq_shift(levels), torch.tensor([-1e3, 1e3])]).float()[:, None]
    output = fsq(z)
    assert torch.equal(output.quantized.unique(), grid(levels))
    assert torch.equal(output.indices.unique(), torch.arange(levels))
    assert torch.equal(output.quantized, grid(levels)[output.indices])


@pytest.mark.parametrize(("levels", "codes"), list(RECOMMENDED.items()), ids=str)
def test_the_recommended_levels_have_the_published_number_of_codes(levels, codes):
    fsq = build("fsq", levels=levels)
    assert fsq.latent_channels == len(levels)
    assert fsq.codebook_sizes == (codes,)
    assert fsq.bits_per_position == pytest.approx(math.log2(codes))


@pytest.mark.parametrize("levels", [*RECOMMENDED, (2, 2, 2), (3, 5, 4), (2000, 3)], ids=str)
def test_every_index_has_a_code_and_every_code_its_latent(levels):
    fsq = build("fsq", levels=levels)
    indices = torch.arange(math.prod(levels))[:, None]
    codes = fsq.dequantize(indices)
    assert len(codes.unique(dim=0)) == len(indices)
    assert torch.equal(fsq(latent_of(codes, levels)).indices, indices)
    assert torch.equal(fsq(latent_of(codes, levels)).quantized, codes)


def test_the_first_channel_varies_fastest():
    digits = torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(3)).flip(1)
    codes = torch.stack([grid(n)[digits[:, i]] for i, n in enumerate((3, 5, 4))], dim=1)
    assert torch.equal(build("fsq", levels=(3, 5, 4)).dequantize(torch.arange(60)[:, None]), codes)


def test_a_known_latent_has_its_known_code():
    output = build("fsq", levels=(3, 5, 4))(torch.tensor([[0.25, 0.6, -7.0]]))
    assert output.quantized.tolist() == [[0.0, 0.5, -1.0]]
    assert output.indices.tolist() == [[10]]


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 6, 8, 100, 1024])
def test_zero_stays_in_the_middle_of_its_cell(levels):
    """The atanh of the shift undoes the tanh exactly; the tan printed in the paper does not."""
    fsq = build("fsq", levels=(levels,))
    assert fsq(torch.zeros(1, 1)).quantized.item() == 0
    centre = fsq._steps(torch.zeros(1, 1))
    torch.testing.assert_close(centre, torch.zeros(1, 1), rtol=0, atol=1e-6 * levels)


@pytest.mark.parametrize("levels", [3, 5, 7, 17])
def test_an_odd_grid_is_symmetric(levels):
    fsq = build("fsq", levels=(levels,) * 3)
    z = 2 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fsq(-z).quantized, -fsq(z).quantized)


@pytest.mark.parametrize("levels", [3, 8, 9])
def test_within_its_range_a_channel_has_the_error_of_equal_steps(levels):
    """Where the squashed latent is uniform, a step squared over twelve."""
    low, high = -(levels // 2), (levels - 1) // 2
    generator = torch.Generator().manual_seed(0)
    places = low + (high - low) * torch.rand(50_000, 1, generator=generator, dtype=torch.float64)
    half_range, offset = 1.001 * (levels - 1) / 2, 0.0 if levels % 2 else 0.5
    z = ((places + offset) / half_range).atanh() - math.atanh(offset / half_range)
    steps = build("fsq", levels=(levels,))(z).quantized * (levels // 2)
    assert (steps - places).square().mean().item() == pytest.approx(1 / 12, rel=0.02)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3, 1200), (7, 4)], ids=str)
def test_a_latent_is_rounded_as_in_float64(levels):
    fsq = build("fsq", levels=levels)
    z = torch.randn(2000, len(levels), generator=torch.Generator().manual_seed(1))
    bounded = bound(z.double(), levels)
    half = torch.tensor(levels) // 2
    clear = ((bounded - bounded.floor() - 0.5).abs() > 1e-3).all(dim=1)  # no near half-integer
    assert clear.float().mean() > 0.9
    assert torch.equal(fsq(z).quantized[clear], (bounded.round() / half).float()[clear])


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3, 1200)], ids=str)
def test_the_gradient_passes_the_rounding_and_follows_the_squashing(levels):
    z = torch.randn(100, len(levels), generator=torch.Generator().manual_seed(2)).requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(3))
    build("fsq", levels=levels)(z).quantized.backward(upstream)
    exact = z.detach().double().requires_grad_()
    (bound(exact, levels) / (torch.tensor(levels) // 2)).backward(upstream.double())
    torch.testing.assert_close(z.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_module_in_half_precision_keeps_its_grid(symmetric):
    levels = (8, 5, 1200, 255)
    fsq = build("fsq", levels=levels, symmetric=symmetric)
    z = 2 * torch.randn(500, 4, generator=torch.Generator().manual_seed(2))
    expected, output = fsq(z), fsq.half()(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_entropies_are_those_of_the_soft_code_over_all_codes(temperature, symmetric):
    """p(code | z) is proportional to exp(-|u - code|^2 / temperature), over all codes."""
    levels = (8, 3, 5)
    fsq = build(
        "fsq",
        levels=levels,
        symmetric=symmetric,
        temperature=temperature,
        entropy_weight=0.2,
        diversity_weight=3.0,
    )
    codes = fsq.dequantize(torch.arange(120)[:, None]).double()
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    exact = z.detach().double().requires_grad_()
    u = exact.tanh() if symmetric else bound(exact, levels) / (torch.tensor(levels) // 2)
    distances = (u[:, None] - codes).square().sum(dim=-1)
    log_p = (-distances / temperature).log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    of_token = 0.2 * -(log_p.exp() * log_p).sum(dim=1).mean()
    of_batch = -0.2 * 3.0 * -torch.xlogy(mean, mean).sum()
    losses = fsq(z).losses
    assert set(losses) == {"token_entropy", "batch_entropy"}
    torch.testing.assert_close(losses["token_entropy"].double(), of_token, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses["batch_entropy"].double(), of_batch, rtol=1e-4, atol=1e-6)
    (of_token + of_batch).backward()
    sum(losses.values()).backward()
    atol = 1e-4 * float(exact.grad.abs().max())
    torch.testing.assert_close(z.grad.double(), exact.grad, rtol=1e-3, atol=atol)


def test_it_learns_nothing_and_stores_nothing():
    fsq = build("fsq", levels=(8, 5, 5, 5))
    assert not list(fsq.parameters())
    assert not fsq.state_dict()
    assert not fsq(torch.randn(3, 4)).losses


def test_the_defaults_of_the_entropy_losses_are_those_of_vidtok():
    given = {"temperature": 0.01, "diversity_weight": 1.0}
    losses, expected = (
        build("fsq", levels=(3, 4), entropy_weight=0.5, **weights)(
            torch.tensor([[0.3, 0.5]])
        ).losses
        for weights in ({}, given)
    )
    assert losses == expected
    torch.testing.assert_close(losses["token_entropy"], -losses["batch_entropy"])
    assert losses["token_entropy"] > 0.01


def test_sixty_bits_cost_no_memory_and_no_precision():
    fsq = build("fsq", levels=(16,) * 15)
    assert fsq.bits_per_position == pytest.approx(60)
    indices = torch.tensor([[0], [2**60 - 1], [2**59 + 2**30 + 1]])
    codes = fsq.dequantize(indices)
    assert torch.equal(fsq(latent_of(codes, (16,) * 15)).indices, indices)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"entropy_weight": -1.0}, "entropy_weight must be .* got -1.0"),
        ({"diversity_weight": math.inf}, "diversity_weight must be .* got inf"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        (
            {"levels": (8,) * 9, "entropy_weight": 0.1},
            r"at most 2\^24 codes, got 134217728; entropy_weight=0 leaves it out",
        ),
    ],
)
def test_wrong_weights_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("fsq", **{"levels": (8, 5)} | wrong)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), r"at least 2 levels in every channel, got \(\)"),
        ((5, 1), r"at least 2 levels in every channel, got \(5, 1\)"),
        ((8,) * 21, "make 9223372036854775808 codes, more than 2\\^63 - 1"),
    ],
)
def test_wrong_levels_are_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        build_unchecked("fsq", levels=levels)


def half_range_and_offset(levels: int) -> tuple[float, float]:
    return (levels - 1) * 1.001 / 2, 0.0 if levels % 2 else 0.5


def fsq_shift(levels: int) -> float:
    half_range, offset = half_range_and_offset(levels)
    return math.atanh(offset / half_range)


def bound(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The squashing of appendix A.1 with the stated deviations, in float64."""
    channels = []
    for channel, count in zip(z.unbind(dim=1), levels, strict=True):
        half_range, offset = half_range_and_offset(count)
        channels.append((channel + fsq_shift(count)).tanh() * half_range - offset)
    return torch.stack(channels, dim=1)


def latent_of(codes: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The latent that the squashing takes to a code: its inverse."""
    channels = []
    for channel, count in zip(codes.double().unbind(dim=1), levels, strict=True):
        half_range, offset = half_range_and_offset(count)
        squashed = (channel * (count // 2) + offset) / half_range
        channels.append(squashed.clamp(-1 + 1e-9, 1 - 1e-9).atanh() - fsq_shift(count))
    return torch.stack(channels, dim=1).float()
