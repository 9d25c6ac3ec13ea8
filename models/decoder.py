"""The decoder of the frame: turns a grid of feature vectors into an image.

Wang et al., "Scaling Image Tokenizers with Grouped Spherical Quantization", 2024,
https://arxiv.org/abs/2412.02632, appendix B. The paper's larger models use `depth_to_space` and
`adaptive_norm`.

Deviation: the input of the paper's decoder and of its adaptive norms is the quantized latent. Here
it is the feature channels that the bottleneck makes from the latent, so that the decoder is the
same for every quantizer.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from models.blocks import (
    SILU_GAIN,
    AdaptiveGroupNorm,
    DepthToSpaceUpsample,
    Upsample,
    check_levels,
    group_norm,
    kaiming,
    middle_stage,
    residual_stage,
)


class Decoder(nn.Module):
    """Residual blocks at rising resolution; each level except the first starts by doubling it.

    `multipliers` and `depths` are in the encoder's order, highest resolution first, and are applied
    in reverse, so that a decoder mirrors the encoder built from the same two lists. Depths may
    differ from the encoder's: the paper's "deeper" model has depths (4, 3, 4, 3, 4, 4) in the
    encoder and (3, 4, 3, 4, 4, 4) in the decoder.

    Args:
        in_channels: feature channels of the input.
        channels: base width.
        multipliers: width of each level divided by `channels`, highest resolution first.
        depths: residual blocks of each level, in the order of `multipliers`, then of the middle; a
            level that changes the width has one more.
        attention: puts single-head attention between consecutive middle blocks.
        depth_to_space: doubles the resolution by a learned shuffle, not by repetition.
        adaptive_norm: normalizes before each level, with scale and bias from the input features.
        norm_groups: groups of every group normalization; must divide every width.

    Raises:
        ValueError: the arguments do not fit each other.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        multipliers: Sequence[int],
        depths: Sequence[int],
        attention: bool = False,
        depth_to_space: bool = False,
        adaptive_norm: bool = False,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        check_levels(channels=channels, multipliers=multipliers, depths=depths, attention=attention)
        self.in_channels = in_channels
        self.downsampling = 2 ** (len(multipliers) - 1)

        width = channels * multipliers[-1]
        self.stem = kaiming(nn.Conv2d(in_channels, width, 3, padding=1))
        self.middle = middle_stage(
            channels=width, depth=depths[-1], attention=attention, norm_groups=norm_groups
        )
        upsample = DepthToSpaceUpsample if depth_to_space else Upsample
        self.levels = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            lowest = level == len(multipliers) - 1
            self.levels.append(
                _Level(
                    upsample=nn.Identity() if lowest else upsample(width),
                    adaptive_norm=AdaptiveGroupNorm(
                        channels=width, latent_channels=in_channels, norm_groups=norm_groups
                    )
                    if adaptive_norm
                    else None,
                    blocks=residual_stage(
                        in_channels=width,
                        out_channels=channels * multipliers[level],
                        depth=depths[level],
                        norm_groups=norm_groups,
                    ),
                )
            )
            width = channels * multipliers[level]
        self.norm = group_norm(norm_groups, width)
        self.head = kaiming(nn.Conv2d(width, 3, 3, padding=1), gain=SILU_GAIN)

    def forward(self, features: Float[Tensor, "b f h w"]) -> Float[Tensor, "b 3 H W"]:
        """Images in about [-1, 1], not clamped; H = h * downsampling, W = w * downsampling."""
        hidden = self.middle(self.stem(features))
        for level in self.levels:
            hidden = level(hidden, features)
        return self.head(F.silu(self.norm(hidden)))


class _Level(nn.Module):
    """The decoder at one resolution."""

    def __init__(
        self,
        *,
        upsample: nn.Module,
        adaptive_norm: AdaptiveGroupNorm | None,
        blocks: nn.Sequential,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.adaptive_norm = adaptive_norm
        self.blocks = blocks

    def forward(
        self, hidden: Float[Tensor, "b c h w"], features: Float[Tensor, "b f u v"]
    ) -> Float[Tensor, "b d H W"]:
        hidden = self.upsample(hidden)
        if self.adaptive_norm is not None:
            hidden = self.adaptive_norm(hidden, features)
        return self.blocks(hidden)
