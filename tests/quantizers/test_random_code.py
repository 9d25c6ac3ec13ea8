"""Facts of the control: its indices and codes do not depend on the image."""

import pytest
import torch
from unchecked import build_unchecked

from quantizers import build, lookup


@pytest.fixture
def z():
    return torch.randn(6, 8, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_all_images_get_the_same_codes_whatever_they_show(z, training):
    control = build("random_code", codebook_size=64).train(training)
    first, other = control(z), control(100 * z.flip(0) + 1)
    assert torch.equal(first.indices, first.indices[:1].expand_as(first.indices))
    assert torch.equal(other.indices, first.indices)
    assert torch.equal(other.quantized, first.quantized)


def test_every_instance_hashes_positions_alike_into_codes_of_its_own(z):
    one, other = (build("random_code", codebook_size=64) for _ in range(2))
    assert torch.equal(one(z).indices, other(z).indices)
    assert not torch.equal(one(z).quantized, other(z).quantized)


@pytest.mark.parametrize("size", [5, 64, 1000, 262_144])
def test_the_hash_is_that_of_knuth(size):
    z = torch.zeros(1, 8, 16, 16)
    indices = build("random_code", codebook_size=size)(z).indices.flatten().tolist()
    assert indices == [(place * 0x9E3779B9 % 2**32) * size // 2**32 for place in range(256)]


@pytest.mark.parametrize("size", [256, 1024, 65_536])
def test_positions_up_to_the_size_of_the_codebook_spread_over_it(size):
    z = torch.zeros(1, 1, size // 4)
    indices = build("random_code", codebook_size=size, latent_channels=1)(z).indices.flatten()
    assert len(indices.unique()) == size // 4
    assert indices.float().mean() == pytest.approx(size / 2, rel=0.05)


def test_the_codes_are_the_frozen_rows_of_a_standard_normal_codebook(z):
    control = build("random_code", codebook_size=4096)
    output = control(z)
    rows = control.state_dict()["codebook"]
    assert torch.equal(output.quantized.movedim(1, -1), rows[output.indices[:, 0]])
    assert float(rows.mean()) == pytest.approx(0, abs=0.02)
    assert float(rows.std()) == pytest.approx(1, abs=0.02)
    assert not list(control.parameters())


def test_a_backward_pass_brings_the_latent_a_gradient_of_zero(z):
    z.requires_grad_()
    output = build("random_code", codebook_size=64)(z)
    output.quantized.square().sum().backward()
    assert torch.equal(z.grad, torch.zeros_like(z))
    assert not output.losses


def test_the_equal_indices_of_images_share_no_memory(z):
    indices = build("random_code", codebook_size=64)(z).indices
    second = indices[1].clone()
    indices[0] += 1
    assert torch.equal(indices[1], second)


def test_it_stands_apart_as_a_lower_bound():
    assert lookup("random_code").control.startswith("lower bound")


def test_a_codebook_of_one_code_is_refused():
    with pytest.raises(ValueError, match="codebook_size of at least 2, got 1"):
        build_unchecked("random_code", codebook_size=1)
