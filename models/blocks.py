"""Building blocks of the convolutional encoder and decoder.

They follow the MAGVIT-v2-like tokenizer of Wang et al., "Scaling Image Tokenizers with Grouped
Spherical Quantization", 2024, https://arxiv.org/abs/2412.02632, appendix B and figure 6.

Deviations: the residual block has no dropout (the paper's rate is 0 %); biases start at zero (the
paper does not say).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SILU_GAIN = 1.6761  # 1 / sqrt(E[silu(x)^2]) for normal x: a SiLU then keeps the variance


def kaiming(conv: nn.Conv2d, *, gain: float = 1.0) -> nn.Conv2d:
    """Draws the weights of `conv` from N(0, gain^2 / fan_in), zeroes its bias and returns it."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    with torch.no_grad():
        conv.weight.mul_(gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def group_norm(
    norm_groups: int, channels: int, *, eps: float = 1e-5, affine: bool = True
) -> nn.GroupNorm:
    """`nn.GroupNorm` with an error that says which number to change.

    Raises:
        ValueError: `norm_groups` is below 1 or does not divide `channels`.
    """
    if norm_groups < 1 or channels % norm_groups:
        raise ValueError(
            f"norm_groups must divide the channels of every layer, got norm_groups={norm_groups} "
            f"for {channels} channels; choose a divisor such as {math.gcd(norm_groups, channels)}"
        )
    return nn.GroupNorm(norm_groups, channels, eps=eps, affine=affine)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU and a 3x3 convolution, all twice, added to the input.

    A 1x1 convolution adapts the input if the number of channels changes.
    """

    def __init__(self, *, in_channels: int, out_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(norm_groups, in_channels)
        self.conv1 = kaiming(nn.Conv2d(in_channels, out_channels, 3, padding=1), gain=SILU_GAIN)
        self.norm2 = group_norm(norm_groups, out_channels)
        self.conv2 = kaiming(
            nn.Conv2d(out_channels, out_channels, 3, padding=1), gain=SILU_GAIN * math.sqrt(0.5)
        )
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = kaiming(nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        residual = self.conv1(F.silu(self.norm1(hidden)))
        residual = self.conv2(F.silu(self.norm2(residual)))
        return self.skip(hidden) + residual


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, added to the input."""

    def __init__(self, *, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = group_norm(norm_groups, channels, eps=1e-6)
        self.to_qkv = kaiming(nn.Conv2d(channels, 3 * channels, 1))
        self.project = kaiming(nn.Conv2d(channels, channels, 1))

    def forward(self, hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        qkv = self.to_qkv(self.norm(hidden)).flatten(2).transpose(1, 2)
        query, key, value = qkv.unsqueeze(1).chunk(3, dim=-1)  # each b, 1 head, h*w, c
        mixed = F.scaled_dot_product_attention(query, key, value).squeeze(1)
        return hidden + self.project(mixed.transpose(1, 2).unflatten(2, hidden.shape[2:]))


class Downsample(nn.Module):
    """Halves height and width with a strided 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = kaiming(nn.Conv2d(channels, channels, 3, stride=2, padding=1))

    def forward(self, hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c (h+1)//2 (w+1)//2"]:
        return self.conv(hidden)


class Upsample(nn.Module):
    """Doubles height and width: nearest-neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = kaiming(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return self.conv(F.interpolate(hidden, scale_factor=2, mode="nearest"))


class DepthToSpaceUpsample(nn.Module):
    """Doubles height and width: a 3x3 convolution to 4 times the channels, then a shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = kaiming(nn.Conv2d(channels, 4 * channels, 3, padding=1))

    def forward(self, hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return depth_to_space(self.conv(hidden))


def depth_to_space(hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c//4 2*h 2*w"]:
    """Channels to positions: `out[d, 2y + i, 2x + j] = hidden[(2i + j) * c/4 + d, y, x]`.

    This is TensorFlow's depth-column-row (DCR) order; `F.pixel_shuffle` reads channel
    `4d + 2i + j`.
    """
    column_row_depth = hidden.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(column_row_depth, 2)


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm with scale and bias from the latent that is decoded.

    The scale is linear in the standard deviation (unbiased) of each latent channel over the
    positions of one image, the bias is linear in the mean.
    """

    def __init__(self, *, channels: int, latent_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = group_norm(norm_groups, channels, eps=1e-6, affine=False)
        self.to_scale = nn.Linear(latent_channels, channels)
        self.to_bias = nn.Linear(latent_channels, channels)

    def forward(
        self, hidden: Float[Tensor, "b c h w"], latent: Float[Tensor, "b f u v"]
    ) -> Float[Tensor, "b c h w"]:
        if latent.shape[2:].numel() < 2:
            raise ValueError(
                "adaptive group norm needs at least 2 latent positions to take a standard "
                "deviation, got 1; use larger images or adaptive_norm=False"
            )
        variance, mean = torch.var_mean(latent, dim=(2, 3))
        scale = self.to_scale((variance + self.norm.eps).sqrt())
        return scale[..., None, None] * self.norm(hidden) + self.to_bias(mean)[..., None, None]


def residual_stage(
    *, in_channels: int, out_channels: int, depth: int, norm_groups: int
) -> nn.Sequential:
    """`depth` residual blocks, and one more before them if the number of channels changes."""
    widths = [in_channels] if in_channels != out_channels else []
    widths += [out_channels] * depth
    return nn.Sequential(
        *(
            ResidualBlock(in_channels=width, out_channels=out_channels, norm_groups=norm_groups)
            for width in widths
        )
    )


def middle_stage(*, channels: int, depth: int, attention: bool, norm_groups: int) -> nn.Sequential:
    """`depth` residual blocks at the lowest resolution, with optional attention between them."""
    stage = nn.Sequential()
    for block in range(depth):
        if attention and block > 0:
            stage.append(AttentionBlock(channels=channels, norm_groups=norm_groups))
        stage.append(
            ResidualBlock(in_channels=channels, out_channels=channels, norm_groups=norm_groups)
        )
    return stage


def check_levels(
    *, channels: int, multipliers: Sequence[int], depths: Sequence[int], attention: bool
) -> None:
    """Refuses widths and depths that give no encoder or decoder.

    Raises:
        ValueError: a width is below 1, a depth is negative, the depths are not one per level and
            one for the middle, or attention lacks two middle blocks to sit between.
    """
    if not multipliers or channels < 1 or min(multipliers) < 1:
        raise ValueError(
            "channels and all multipliers must be at least 1, with one multiplier a resolution; "
            f"got channels={channels}, multipliers={tuple(multipliers)}"
        )
    if len(depths) != len(multipliers) + 1 or min(depths) < 0:
        raise ValueError(
            f"depths must hold {len(multipliers) + 1} block counts, one for each of the "
            f"{len(multipliers)} multipliers and one for the middle; got {tuple(depths)}"
        )
    if attention and depths[-1] < 2:
        raise ValueError(
            "attention sits between consecutive middle blocks and needs at least 2 of them; got "
            f"depths={tuple(depths)}, whose last entry counts the middle blocks"
        )
