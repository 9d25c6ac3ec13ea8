"""Facts of robust residual FSQ: Zhu et al. 2025, learnable scaling factors."""

import math

import pytest
import torch
from torch import Tensor

from quantizers import Quantizer, build

LEVELS = (8, 5, 4)
SCALES = (0.8, 3.0, 7.0)


@pytest.fixture
def rfsq():
    rfsq = build("rfsq", levels=LEVELS, stages=len(SCALES))
    set_scales(rfsq, SCALES)
    return rfsq


@pytest.fixture
def z():
    return normal(4, len(LEVELS), 5, 2, seed=1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def set_scales(rfsq: Quantizer, scales: tuple[float, ...]) -> None:
    rfsq.load_state_dict({"log_scales": torch.tensor(scales).log()})


def squash(u: Tensor) -> Tensor:
    """FSQ's latent before rounding, one step a level; channels last."""
    levels = torch.tensor(LEVELS)
    half_range, offset = (levels - 1) * 1.001 / 2, (levels % 2 == 0) / 2
    return (u + (offset / half_range).atanh()).tanh() * half_range - offset


def reference(z: Tensor, scales: Tensor) -> Tensor:
    """The sum over stages of FSQ(a r) / a, with the estimator written as x + sg(round(x) - x)."""
    residual, total = z, torch.zeros_like(z)
    for scale in scales:
        bounded = squash(residual * scale)
        rounded = bounded + (bounded.round() - bounded).detach()
        code = rounded / (torch.tensor(LEVELS) // 2) / scale
        residual, total = residual - code, total + code
    return total


def test_values_and_gradients_are_those_of_the_published_formula(rfsq, z):
    latent, scales = z.movedim(1, -1).double(), torch.tensor(SCALES).double()
    expected = reference(latent.requires_grad_(), scales.requires_grad_())
    quantized = rfsq(z.requires_grad_()).quantized
    torch.testing.assert_close(quantized.movedim(1, -1).double(), expected, rtol=0, atol=1e-5)

    upstream = normal(*z.shape, seed=2)
    quantized.backward(upstream)
    expected.backward(upstream.movedim(1, -1).double())
    gradient = z.grad.movedim(1, -1).double()
    torch.testing.assert_close(gradient, latent.grad, rtol=1e-4, atol=1e-5)
    gradient = rfsq.log_scales.grad.double()  # d/d(log a) = a d/da
    torch.testing.assert_close(gradient, scales.grad * scales.detach(), rtol=1e-4, atol=1e-5)


def test_a_gradient_is_what_the_slopes_of_all_stages_let_through(rfsq, z):
    """1 - (1 - f_1) ... (1 - f_K), where f_k is the slope of the squashing function."""
    rfsq(z.requires_grad_()).quantized.sum().backward()
    blocked, indices = torch.ones_like(z).movedim(1, -1), rfsq(z).indices
    for stage, scale in enumerate(SCALES):
        coarse = rfsq.dequantize(indices[:, :stage]) if stage else torch.zeros_like(z)
        u = ((z - coarse).detach() * scale).movedim(1, -1).requires_grad_()
        (slope,) = torch.autograd.grad((squash(u) / (torch.tensor(LEVELS) // 2)).sum(), u)
        blocked = blocked * (1 - slope)
    torch.testing.assert_close(z.grad.movedim(1, -1), 1 - blocked, rtol=1e-4, atol=1e-5)


def test_scales_start_equal_and_learn_from_the_output_alone(z):
    rfsq = build("rfsq", levels=LEVELS, stages=3, initial_scale=2.5)
    torch.testing.assert_close(rfsq.log_scales.exp(), torch.full((3,), 2.5))
    torch.testing.assert_close(
        build("rfsq", levels=LEVELS, stages=2).log_scales, torch.zeros(2), rtol=0, atol=0
    )
    rfsq(z).quantized.square().sum().backward()
    assert rfsq.log_scales.grad.all()


def test_a_scale_that_fits_the_residual_saves_the_second_stage_from_fading():
    """Residuals of 5 levels reach a quarter: unscaled, the next stage rounds all of them to 0."""
    z = 0.4 * (2 * torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) - 1)
    fsq, rfsq = build("fsq", levels=(5, 5, 5)), build("rfsq", levels=(5, 5, 5), stages=2)
    errors = []
    for scale in (1.0, 4.0):
        set_scales(rfsq, (1.0, scale))
        errors.append((rfsq(z).quantized - z).square().mean())
    torch.testing.assert_close(errors[0], (fsq(z).quantized - z).square().mean())
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_first_stages_alone_decode_to_the_code_of_a_lower_rate(rfsq, z, stages):
    shorter = build("rfsq", levels=LEVELS, stages=stages)
    set_scales(shorter, SCALES[:stages])
    indices, expected = rfsq(z).indices, shorter(z)
    assert torch.equal(indices[:, :stages], expected.indices)
    assert torch.equal(rfsq.dequantize(indices[:, :stages]), expected.quantized)


def test_the_published_configurations_have_22_and_40_bits():
    assert build("rfsq", levels=(8, 8, 8, 4), stages=2).bits_per_position == 22
    assert build("rfsq", levels=(4,) * 5, stages=4).bits_per_position == 40


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stages": 0}, "RFSQ needs at least 1 stage, got 0"),
        ({"levels": (4, 1)}, r"at least 2 levels in every channel, got \(4, 1\)"),
        ({"initial_scale": 0.0}, "finite initial_scale above 0, got 0.0"),
        ({"initial_scale": math.inf}, "finite initial_scale above 0, got inf"),
    ],
)
def test_wrong_hyperparameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build("rfsq", **{"levels": (4, 4), "stages": 2} | wrong)
