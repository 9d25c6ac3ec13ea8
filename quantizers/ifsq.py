"""iFSQ: Finite Scalar Quantization with an activation that spreads normal latents evenly.

Lin et al., "iFSQ: Improving FSQ for Image Generation with 1 Line of Code", 2026,
https://arxiv.org/abs/2601.17124; the method is FSQ (https://arxiv.org/abs/2309.15505) with
2 sigmoid(alpha z) - 1 in place of tanh(z); with alpha = 2 they are the same.

As in the authors' code, the range ends at the outer levels, so their cells are half as wide as the
others. Deviation: the activation is written tanh(alpha z / 2), which is equal and keeps its digits
near zero.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.registry import register


@register("ifsq")
class IFSQ(Quantizer):
    """Learns nothing and has no auxiliary loss; the codebook is the grid of all levels.

    Formula: z_q = round(h u) / h with u = 2 sigmoid(alpha z) - 1 and h = (L - 1) / 2, in each
    channel.

    Args:
        levels: values per latent channel, L in the paper, all odd, so zero is one of them. The
            paper recommends about 4 bits per channel. The product is the codebook size: (17, 15)
            gives 255 codes, 7.99 bits per position. In an index the first channel varies fastest.
        alpha: steepness of the activation. The paper's 1.6 makes a standard normal latent nearly
            uniform in (-1, 1).
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "the activation squashes a code like any other latent, so a code is not its "
        "own latent"
    }

    levels: Int[Tensor, " c"]
    strides: Int[Tensor, " c"]

    def __init__(self, *, levels: Sequence[int], alpha: float = 1.6) -> None:
        levels = tuple(levels)
        if not levels or min(levels) < 3 or any(count % 2 == 0 for count in levels):
            raise ValueError(
                f"iFSQ needs an odd number of levels, at least 3, in every channel, got {levels}"
            )
        if not 0 < alpha < float("inf"):
            raise ValueError(f"iFSQ needs a finite alpha above 0, got {alpha}")
        codebook_size = math.prod(levels)
        if codebook_size >= 2**63:
            raise ValueError(f"iFSQ levels {levels} make {codebook_size} codes, more than 2^63 - 1")
        super().__init__(latent_channels=len(levels), codebook_sizes=(codebook_size,))
        self.alpha = alpha
        strides = [math.prod(levels[:channel]) for channel in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = torch.tanh(self.alpha / 2 * z.movedim(1, -1))
        digits = (u * self._half_width).round().long() + self._half_width  # 0 .. levels - 1
        indices = (digits * self.strides).sum(dim=-1)
        return QuantizerOutput(
            quantized=straight_through(u, self._codes(digits)).movedim(-1, 1),
            indices=indices.unsqueeze(1),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        digits = indices.movedim(1, -1) // self.strides % self.levels
        return self._codes(digits).movedim(-1, 1)

    @property
    def _half_width(self) -> Int[Tensor, " c"]:
        return self.levels // 2

    def _codes(self, digits: Int[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        return (digits - self._half_width).float() / self._half_width

    def extra_repr(self) -> str:
        return f"levels={tuple(self.levels.tolist())}, alpha={self.alpha}"
