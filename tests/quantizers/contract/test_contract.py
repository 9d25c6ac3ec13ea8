"""Laws of the contract that every registered quantizer obeys: values, gradients and precision."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quantizers import NonFiniteLatentError, Quantizer

SPATIAL_SHAPES = [(), (7,), (3, 5), (2, 3, 2)]
scales = st.sampled_from([0.0, 1e-20, 1e-6, 1e-2, 1.0, 1e2, 1e6, 1e20])
offsets = st.sampled_from([0.0, 1e-3, -10.0, 1e4])
NOT_THE_NEAREST = {
    "fsq": "a latent is bounded, then rounded",
    "ifsq": "a latent is bounded, then rounded",
    "rfsq": "each stage bounds and rounds what is left over",
    "rvq": "the search is greedy",
    "residual_gsq": "the search is greedy",
    "ibq": "the code has the largest dot product",
    "gumbel_vq": "the code has the largest logit",
    "random_code": "the code does not depend on the latent",
}
shapes = st.tuples(st.integers(1, 3)) | st.tuples(st.integers(1, 3), st.integers(1, 4))


def test_output_has_the_shape_of_the_input(quantizer, sample):
    for batch, spatial in itertools.product((0, 1, 2), SPATIAL_SHAPES):
        z = sample(quantizer, (batch, *spatial), seed=0)
        output = quantizer(z)
        assert output.quantized.shape == z.shape
        assert output.quantized.dtype == z.dtype
        assert output.indices.shape == (batch, len(quantizer.codebook_sizes), *spatial)
        assert output.indices.dtype == torch.int64


@pytest.mark.law("discrete")
@settings(max_examples=10)
@given(seed=st.integers(0, 99), shape=shapes, scale=scales, offset=offsets, training=st.booleans())
def test_indices_lie_in_their_codebooks_and_decode_to_the_output(
    quantizer, sample, seed, shape, scale, offset, training
):
    z = sample(quantizer, shape, seed=seed, scale=scale) + offset
    output = quantizer.train(training)(z)
    sizes = torch.tensor(quantizer.codebook_sizes).view(-1, *[1] * (z.ndim - 2))
    assert (output.indices >= 0).all()
    assert (output.indices < sizes).all()
    assert torch.equal(output.quantized, quantizer.dequantize(output.indices))
    assert output.quantized.isfinite().all()


@pytest.mark.law("discrete")
def test_the_furthest_latents_reach_only_valid_indices(quantizer, latent):
    sizes = torch.tensor(quantizer.codebook_sizes).view(-1, 1, 1)
    for direction in (latent.sign(), torch.ones_like(latent), -torch.ones_like(latent)):
        indices = quantizer(100 * direction).indices
        assert ((indices >= 0) & (indices < sizes)).all()


@pytest.mark.law("discrete")
@pytest.mark.law("projection")
def test_a_code_is_its_own_nearest_code(quantizer):
    indices = _some_indices(quantizer)
    codes = quantizer.dequantize(indices)
    found = quantizer(codes).indices
    assert torch.equal(quantizer.dequantize(found), codes)
    assert (found <= indices).all()  # equal codes: the lowest index stands for all


@pytest.mark.law("discrete")
def test_no_other_index_is_nearer_to_the_latent_in_float64(quantizer, example, sample):
    """Of up to 256 other indices in each codebook, where a method takes the nearest code."""
    name, parameters = example
    if name in NOT_THE_NEAREST or parameters.get("emit") == "raw":
        pytest.skip(NOT_THE_NEAREST.get(name, "the code that is emitted is not the one compared"))
    z = sample(quantizer, (30,), seed=4)
    indices = quantizer.eval()(z).indices
    distance = (quantizer.dequantize(indices).double() - z).square().sum(dim=1)
    for row, size in enumerate(quantizer.codebook_sizes):
        others = torch.linspace(0, size - 1, min(size, 256), dtype=torch.float64).long()
        changed = indices.repeat(len(others), 1)
        changed[:, row] = others.repeat_interleave(len(z))
        codes = quantizer.dequantize(changed).view(len(others), *z.shape).double()
        nearest = (codes - z).square().sum(dim=2).amin(dim=0)
        assert (distance <= nearest * (1 + 1e-5)).all()


@pytest.mark.law("discrete")
def test_different_indices_stand_for_different_codes(quantizer):
    indices = _some_indices(quantizer).unique(dim=0)
    assert len(quantizer.dequantize(indices).unique(dim=0)) == len(indices)


@pytest.mark.law("discrete")
@pytest.mark.law("locality")
def test_all_zero_latents_share_one_code(quantizer, latent):
    output = quantizer(torch.zeros_like(latent))
    assert len(output.indices.movedim(1, -1).flatten(0, -2).unique(dim=0)) == 1
    negative = quantizer(-torch.zeros_like(latent))
    assert torch.equal(output.indices, negative.indices)


@pytest.mark.law("discrete")
def test_the_rate_is_the_sum_of_the_codebooks_bits(quantizer):
    bits = sum(math.log2(size) for size in quantizer.codebook_sizes)
    assert quantizer.bits_per_position == pytest.approx(bits)


@pytest.mark.law("gradient")
def test_a_gradient_of_the_output_reaches_every_image(quantizer, latent):
    z = latent.requires_grad_()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    quantizer(z).quantized.backward(upstream)
    assert z.grad.isfinite().all()
    assert z.grad.flatten(1).any(dim=1).all()


def test_the_whole_gradient_is_finite_also_at_zero(quantizer, latent):
    for scale in (0.0, 1e-30, 1.0, 1e3):
        z = (latent * scale).requires_grad_()
        output = quantizer(z)
        (output.quantized.sum() + sum(output.losses.values())).backward()
        assert z.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in quantizer.parameters() if p.grad is not None)


def test_every_parameter_is_trained_by_the_losses_or_the_output(quantizer, latent):
    output = quantizer(latent.requires_grad_())
    (output.quantized.square().sum() + sum(output.losses.values())).backward()
    for parameter in quantizer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_losses_are_finite_scalars(quantizer, latent):
    for name, loss in quantizer(latent).losses.items():
        assert isinstance(name, str)
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert loss.isfinite()


@pytest.mark.law("precision")
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_dtype_of_the_input_changes_no_index(quantizer, sample, scale):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        z = sample(quantizer, (4, 3, 5), seed=3, scale=scale).to(dtype)
        expected, output = quantizer(z.float()), quantizer(z)
        assert output.quantized.dtype == dtype
        assert torch.equal(output.indices, expected.indices)
        assert torch.equal(output.quantized, expected.quantized.to(dtype))
        assert output.losses == expected.losses


@pytest.mark.law("precision")
def test_autocast_changes_nothing(quantizer, latent):
    expected = quantizer(latent)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            output = quantizer(latent)
        assert torch.equal(output.indices, expected.indices)
        assert torch.equal(output.quantized, expected.quantized)
        assert output.losses == expected.losses


def test_a_latent_that_is_not_finite_is_refused(quantizer, latent):
    for bad, training in itertools.product((math.nan, math.inf, -math.inf), (True, False)):
        latent[3, -1, 1, 2] = bad
        with pytest.raises(NonFiniteLatentError, match=f"in 1 of {latent.numel()} elements"):
            quantizer.train(training)(latent)


def test_a_float64_that_overflows_in_float32_is_refused(quantizer, latent):
    latent = latent.double()
    latent[0, 0, 0, 0] = 1e300
    with pytest.raises(NonFiniteLatentError, match="in 1 of"):
        quantizer(latent)


def test_a_wrong_number_of_channels_is_a_clear_error(quantizer):
    expected = quantizer.latent_channels
    for channels in {1, expected - 1, expected + 1} - {expected}:
        with pytest.raises(
            ValueError, match=rf"expects {expected} latent channels .* {channels}, 2"
        ):
            quantizer(torch.zeros(2, channels, 2))


def _some_indices(quantizer: Quantizer) -> Tensor:
    """All codes of every codebook up to 4096, in differing combinations; shape (n, k)."""
    columns = []
    for row, size in enumerate(quantizer.codebook_sizes):
        if size <= 4096:
            column = torch.arange(max(min(n, 4096) for n in quantizer.codebook_sizes)) + row
        else:
            column = torch.linspace(0, 1, 4096, dtype=torch.float64).mul(size - 1).long()
        columns.append(column % size)
    return torch.stack(columns, dim=1)
