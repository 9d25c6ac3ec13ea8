"""Facts of the control without quantization."""

import math

import pytest
import torch

from quantizers import build, lookup


@pytest.fixture
def z():
    return torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_the_latent_and_its_gradient_pass_bit_for_bit(z, training):
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    output = build("none").train(training)(z.requires_grad_())
    assert torch.equal(output.quantized, z)
    output.quantized.backward(upstream)
    assert torch.equal(z.grad, upstream)


def test_it_has_no_codes_no_losses_and_an_infinite_rate(z):
    control = build("none")
    output = control(z)
    assert output.indices.shape == (2, 0, 3, 5)
    assert not output.losses
    assert control.codebook_sizes == ()
    assert math.isinf(control.bits_per_position)
    assert not list(control.parameters())


def test_it_cannot_decode():
    with pytest.raises(TypeError, match="the control 'none' has no codes"):
        build("none").dequantize(torch.zeros(1, 0, 2, dtype=torch.int64))


def test_it_stands_apart_as_an_upper_bound():
    assert lookup("none").control.startswith("upper bound")
