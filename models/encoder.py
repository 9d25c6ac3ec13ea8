"""The encoder of the frame: turns an image into a small grid of feature vectors.

Wang et al., "Scaling Image Tokenizers with Grouped Spherical Quantization", 2024,
https://arxiv.org/abs/2412.02632, appendix B: the paper's F8 is `channels=128,
multipliers=(1, 2, 2, 4), depths=(2, 2, 2, 2, 2)`, its F16 `multipliers=(1, 1, 2, 2, 4)`.

Deviation: the output of the paper's encoder has the channels of the latent. Here it has a number of
feature channels that is the same for every quantizer, and the bottleneck adapts them.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from models.blocks import (
    SILU_GAIN,
    Downsample,
    check_levels,
    group_norm,
    kaiming,
    middle_stage,
    residual_stage,
)


class Encoder(nn.Module):
    """Residual blocks at falling resolution; each level except the last ends by halving it.

    Args:
        out_channels: feature channels of the output.
        channels: base width.
        multipliers: width of each level divided by `channels`, highest resolution first.
        depths: residual blocks of each level, in the order of `multipliers`, then of the middle; a
            level that changes the width has one more.
        attention: puts single-head attention between consecutive middle blocks.
        norm_groups: groups of every group normalization; must divide every width.

    Raises:
        ValueError: the arguments do not fit each other.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        channels: int,
        multipliers: Sequence[int],
        depths: Sequence[int],
        attention: bool = False,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        check_levels(channels=channels, multipliers=multipliers, depths=depths, attention=attention)
        self.out_channels = out_channels
        self.downsampling = 2 ** (len(multipliers) - 1)

        self.stem = kaiming(nn.Conv2d(3, channels, 3, padding=1))
        self.levels = nn.Sequential()
        width = channels
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                self.levels.append(Downsample(width))
            self.levels.append(
                residual_stage(
                    in_channels=width,
                    out_channels=channels * multiplier,
                    depth=depths[level],
                    norm_groups=norm_groups,
                )
            )
            width = channels * multiplier
        self.middle = middle_stage(
            channels=width, depth=depths[-1], attention=attention, norm_groups=norm_groups
        )
        self.norm = group_norm(norm_groups, width)
        self.head = kaiming(nn.Conv2d(width, out_channels, 1), gain=SILU_GAIN)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b f h w"]:
        """Encodes images in [-1, 1]; h = H / downsampling, w = W / downsampling.

        Raises:
            ValueError: height or width is not a multiple of `downsampling`.
        """
        height, width = images.shape[2:]
        if height % self.downsampling or width % self.downsampling:
            raise ValueError(
                f"height and width must be multiples of the down-sampling factor "
                f"{self.downsampling}, got images of {height}x{width} pixels; crop or resize them"
            )
        hidden = self.middle(self.levels(self.stem(images)))
        return self.head(F.silu(self.norm(hidden)))
