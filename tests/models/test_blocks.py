import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.blocks import (
    SILU_GAIN,
    AdaptiveGroupNorm,
    AttentionBlock,
    DepthToSpaceUpsample,
    Downsample,
    ResidualBlock,
    Upsample,
    check_levels,
    depth_to_space,
    group_norm,
    kaiming,
    middle_stage,
    residual_stage,
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normalized(hidden: torch.Tensor, groups: int, eps: float) -> torch.Tensor:
    """Group normalization without affine parameters, written out."""
    grouped = hidden.unflatten(1, (groups, -1))
    mean = grouped.mean(dim=(2, 3, 4), keepdim=True)
    variance = grouped.var(dim=(2, 3, 4), keepdim=True, correction=0)
    return ((grouped - mean) / (variance + eps).sqrt()).flatten(1, 2)


def test_silu_gain_keeps_the_variance_of_a_normal_variable():
    grid = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    density = torch.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    second_moment = torch.trapezoid(F.silu(grid) ** 2 * density, grid)
    assert 1 / second_moment.sqrt().item() == pytest.approx(SILU_GAIN, rel=2e-3)


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_kaiming_scales_by_the_fan_in_and_zeroes_the_bias(gain):
    conv = kaiming(nn.Conv2d(64, 256, 3), gain=gain)
    assert conv.weight.std().item() == pytest.approx(gain / math.sqrt(64 * 9), rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()


def test_residual_block_starts_with_the_gains_of_the_paper():
    block = ResidualBlock(in_channels=64, out_channels=64, norm_groups=8)
    assert block.conv1.weight.std().item() * 24 == pytest.approx(1.6761, rel=0.02)
    assert block.conv2.weight.std().item() * 24 == pytest.approx(1.6761 * 0.70711, rel=0.02)


def test_residual_block_adds_two_normalized_convolutions_to_the_input():
    block = ResidualBlock(in_channels=8, out_channels=16, norm_groups=4).double()
    hidden = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    first = F.conv2d(F.silu(normalized(hidden, 4, 1e-5)), block.conv1.weight, padding=1)
    second = F.conv2d(F.silu(normalized(first, 4, 1e-5)), block.conv2.weight, padding=1)
    skip = F.conv2d(hidden, block.skip.weight)
    torch.testing.assert_close(block(hidden), skip + second)


def test_residual_block_of_equal_width_skips_without_a_convolution():
    block = ResidualBlock(in_channels=8, out_channels=8, norm_groups=4)
    nn.init.zeros_(block.conv2.weight)
    hidden = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(hidden), hidden)


def test_attention_is_softmax_over_all_positions():
    block = AttentionBlock(channels=8, norm_groups=2).double()
    hidden = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    qkv = F.conv2d(normalized(hidden, 2, 1e-6), block.to_qkv.weight).flatten(2)
    query, key, value = qkv.split(8, dim=1)
    weights = (torch.einsum("bcq,bck->bqk", query, key) / math.sqrt(8)).softmax(dim=-1)
    mixed = torch.einsum("bqk,bck->bcq", weights, value).reshape(2, 8, 3, 4)
    expected = hidden + F.conv2d(mixed, block.project.weight)
    torch.testing.assert_close(block(hidden), expected)


@pytest.mark.parametrize("upsample", [Upsample, DepthToSpaceUpsample])
def test_resampling_doubles_and_halves_each_side(upsample):
    hidden = torch.randn(1, 4, 6, 10)
    assert Downsample(4)(hidden).shape == (1, 4, 3, 5)
    assert upsample(4)(hidden).shape == (1, 4, 12, 20)


def test_upsampling_repeats_each_position_before_the_convolution():
    block = Upsample(1)
    nn.init.dirac_(block.conv.weight)
    hidden = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert block(hidden)[0, 0].tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2


def test_depth_to_space_reads_channels_in_depth_column_row_order():
    hidden = torch.randn(2, 12, 4, 5)
    out = depth_to_space(hidden)
    assert out.shape == (2, 3, 8, 10)
    for channel in range(3):
        for i in range(2):
            for j in range(2):
                source = hidden[:, (2 * i + j) * 3 + channel]
                assert torch.equal(out[:, channel, i::2, j::2], source)


def test_adaptive_norm_takes_scale_from_the_spread_and_bias_from_the_mean():
    block = AdaptiveGroupNorm(channels=8, latent_channels=3, norm_groups=4).double()
    hidden = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    latent = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    deviation = (latent.var(dim=(2, 3), correction=1) + 1e-6).sqrt()
    scale = deviation @ block.to_scale.weight.T + block.to_scale.bias
    bias = latent.mean(dim=(2, 3)) @ block.to_bias.weight.T + block.to_bias.bias
    expected = scale[..., None, None] * normalized(hidden, 4, 1e-6) + bias[..., None, None]
    torch.testing.assert_close(block(hidden, latent), expected)


def test_adaptive_norm_has_a_finite_gradient_at_a_constant_latent():
    block = AdaptiveGroupNorm(channels=8, latent_channels=3, norm_groups=4)
    latent = torch.ones(1, 3, 2, 2, requires_grad=True)
    block(torch.randn(1, 8, 4, 4), latent).sum().backward()
    assert latent.grad is not None
    assert latent.grad.isfinite().all()


def test_adaptive_norm_refuses_a_single_latent_position():
    block = AdaptiveGroupNorm(channels=8, latent_channels=3, norm_groups=4)
    with pytest.raises(ValueError, match="at least 2 latent positions"):
        block(torch.randn(1, 8, 4, 4), torch.randn(1, 3, 1, 1))


@pytest.mark.parametrize("norm_groups", [0, 5, 16])
def test_norm_groups_must_divide_the_channels(norm_groups):
    with pytest.raises(ValueError, match=f"norm_groups={norm_groups} for 24 channels"):
        group_norm(norm_groups, 24)


def test_a_stage_has_one_more_block_where_the_width_changes():
    change = residual_stage(in_channels=8, out_channels=16, depth=2, norm_groups=4)
    keep = residual_stage(in_channels=16, out_channels=16, depth=2, norm_groups=4)
    assert (len(change), len(keep)) == (3, 2)
    assert change(torch.randn(1, 8, 4, 4)).shape == (1, 16, 4, 4)


def test_attention_sits_between_the_middle_blocks():
    stage = middle_stage(channels=8, depth=3, attention=True, norm_groups=4)
    kinds = [type(block) for block in stage]
    assert kinds == [ResidualBlock, AttentionBlock, ResidualBlock, AttentionBlock, ResidualBlock]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels=0"),
        ({"multipliers": ()}, "one multiplier a resolution"),
        ({"multipliers": (1, 0)}, "multipliers="),
        ({"depths": (1, 1)}, "3 block counts"),
        ({"depths": (1, -1, 2)}, "3 block counts"),
        ({"depths": (2, 2, 1), "attention": True}, "attention sits between"),
    ],
)
def test_impossible_levels_are_refused(change, message):
    levels = {"channels": 8, "multipliers": (1, 2), "depths": (1, 1, 2), "attention": False}
    check_levels(**levels)
    with pytest.raises(ValueError, match=message):
        check_levels(**(levels | change))
