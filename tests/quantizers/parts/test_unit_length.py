"""Unit vectors: the values of torch's own function, also where that one overflows."""

import pytest
import torch
import torch.nn.functional as F

from quantizers import build
from quantizers.parts.unit_length import normalize, scale_down


@pytest.fixture
def x():
    return torch.randn(200, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-13, 1e-6, 0.7, 1.0, 3.0, 1e9, 1e18])
def test_values_and_gradients_are_those_of_torch_bit_for_bit(x, scale):
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = (x * scale).requires_grad_(), (x * scale).requires_grad_()
    units = normalize(ours), F.normalize(theirs, dim=-1)
    assert torch.equal(*units)
    for unit in units:
        unit.backward(upstream)
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("scale", [2.0**65, 2.0**100, 2.0**125])
def test_vectors_whose_squares_overflow_still_get_unit_length(x, scale):
    assert torch.equal(normalize(x * scale), F.normalize(x, dim=-1))
    largest = torch.full((3, 5), torch.finfo(torch.float32).max)
    torch.testing.assert_close(normalize(largest), torch.full((3, 5), 5**-0.5))


def test_each_vector_has_its_own_scale(x):
    scales = torch.tensor([1e-6, 1.0, 1e30, 1e19]).repeat(50)[:, None]
    torch.testing.assert_close(normalize(x * scales), F.normalize(x, dim=-1))


def test_scaling_down_leaves_small_vectors_and_directions_as_they_are(x):
    small = x.clamp(-0.99, 0.99)
    assert torch.equal(scale_down(small), small)
    x = torch.tensor([[3.0, -5.0, 0.25]])
    assert torch.equal(scale_down(x * 2.0**90), x / 8)


def test_no_vectors_are_no_error():
    assert normalize(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("e8", {}),
        ("leech", {}),
        ("bsq", {"latent_channels": 8}),
        ("cosine_vq", {"codebook_size": 9}),
        ("gsq", {"groups": 2, "group_channels": 4, "codebook_size": 9}),
    ],
)
def test_a_huge_latent_has_the_losses_and_the_gradient_of_its_direction(name, parameters):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = build(name, **parameters)
    z = torch.randn(20, quantizer.latent_channels, generator=torch.Generator().manual_seed(2))
    huge = (z * 2.0**80).requires_grad_()
    z.requires_grad_()
    ours, theirs = quantizer(huge), quantizer(z)
    assert torch.equal(ours.indices, theirs.indices)
    for output in (ours, theirs):
        (output.quantized.sin().sum() + sum(output.losses.values())).backward()
    assert all(torch.equal(loss, theirs.losses[key]) for key, loss in ours.losses.items())
    assert torch.equal(huge.grad * 2.0**80, z.grad)
