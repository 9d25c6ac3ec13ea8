"""Facts of FSQ with a symmetric grid: Parker et al. 2024, section 3.2."""

import pytest
import torch

from quantizers import build


@pytest.mark.parametrize("levels", [*range(2, 18), 100, 1001, 1024])
def test_a_symmetric_channel_takes_equal_steps_from_minus_one_to_one(levels):
    fsq = build("fsq", levels=(levels,), symmetric=True)
    digits = torch.arange(levels)[:, None]
    expected = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    codes = fsq.dequantize(digits)
    torch.testing.assert_close(codes.double(), expected, rtol=0, atol=1e-7)
    assert torch.equal(codes, -codes.flip(0))
    latents = codes.double().clamp(-1 + 1e-9, 1 - 1e-9).atanh().float()
    assert torch.equal(fsq(latents).indices, digits)


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 8, 16])
def test_symmetric_cells_have_one_width_but_the_outer_ones_half_of_it(levels):
    fsq = build("fsq", levels=(levels,), symmetric=True)
    squashed = torch.linspace(-1, 1, 10_001 * (levels - 1), dtype=torch.float64)[1:-1]
    counts = torch.bincount(fsq(squashed.atanh().float()[:, None]).indices[:, 0])
    share = counts / counts.sum() * (levels - 1)
    expected = torch.tensor([0.5, *[1.0] * (levels - 2), 0.5])
    torch.testing.assert_close(share, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("levels", [2, 4, 5, 8])
def test_a_symmetric_grid_is_odd_whether_even_or_not(levels):
    fsq = build("fsq", levels=(levels,) * 3, symmetric=True)
    z = 2 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fsq(-z).quantized, -fsq(z).quantized)


def test_an_even_symmetric_grid_has_no_zero_and_sends_zero_down():
    output = build("fsq", levels=(2, 3, 4), symmetric=True)(torch.zeros(1, 3))
    torch.testing.assert_close(output.quantized, torch.tensor([[-1.0, 0.0, -1 / 3]]))


def test_the_gradient_of_a_symmetric_grid_is_that_of_tanh():
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(3))
    build("fsq", levels=(4, 5), symmetric=True)(z).quantized.backward(upstream)
    torch.testing.assert_close(z.grad, upstream * (1 - z.detach().tanh().square()))


def test_the_soft_code_of_two_symmetric_levels_is_that_of_lfq():
    """After the squashing: exp(-|u - code|^2 / tau) is exp(2 <u, code> / tau) up to a factor."""
    z = torch.randn(60, 4, generator=torch.Generator().manual_seed(5))
    weights = {"entropy_weight": 1.0, "temperature": 0.7, "diversity_weight": 2.0}
    ours = build("fsq", levels=(2,) * 4, symmetric=True, **weights)(z).losses
    theirs = build("lfq", latent_channels=4, **weights)(z.tanh()).losses
    for name in ("token_entropy", "batch_entropy"):
        torch.testing.assert_close(ours[name], theirs[name])
