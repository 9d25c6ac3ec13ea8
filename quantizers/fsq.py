"""Finite Scalar Quantization (FSQ): round every channel to a small fixed grid.

Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024,
https://arxiv.org/abs/2309.15505, section 3.1 and appendix A.1.

Deviations: appendix A.1 shifts even grids by tan and shrinks the range by 1e-3. Here the shift is
atanh, the inverse of the tanh that follows, so that a zero latent stays at zero (an author
confirmed that this was meant: https://github.com/lucidrains/vector-quantize-pytorch/issues/94),
and the range is widened by 1e-3, as in the implementation in common use, so that two levels are
possible too. A channel of more than 1000 levels is clamped: there 1e-3 of the range is a level.
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


@register("fsq")
class FSQ(Quantizer):
    """Learns nothing and needs no auxiliary loss; the codebook is the grid of all levels.

    Args:
        levels: values per latent channel, L in the paper; it recommends at least 5 each. The
            product is the codebook size: (8, 5, 5, 5) gives 1000 codes, 9.97 bits per position.
            In an index the first channel varies fastest.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "tanh squashes a code like any other latent, so a code is not its own latent"
    }

    levels: Int[Tensor, " c"]
    strides: Int[Tensor, " c"]

    def __init__(self, *, levels: Sequence[int]) -> None:
        levels = tuple(levels)
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQ needs at least 2 levels in every channel, got {levels}")
        codebook_size = math.prod(levels)
        if codebook_size >= 2**63:
            raise ValueError(f"FSQ levels {levels} make {codebook_size} codes, more than 2^63 - 1")
        super().__init__(latent_channels=len(levels), codebook_sizes=(codebook_size,))
        strides = [math.prod(levels[:channel]) for channel in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        bounded = self._bound(z.movedim(1, -1))
        digits = bounded.round().long() + self._half_width  # 0 .. levels - 1 in each channel
        digits = torch.minimum(digits.clamp(min=0), self.levels - 1)  # matters past 1000 levels
        quantized = straight_through(bounded / self._half_width, self._codes(digits))
        indices = (digits * self.strides).sum(dim=-1)
        return QuantizerOutput(quantized=quantized.movedim(-1, 1), indices=indices.unsqueeze(1))

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        digits = indices.movedim(1, -1) // self.strides % self.levels
        return self._codes(digits).movedim(-1, 1)

    @property
    def _half_width(self) -> Int[Tensor, " c"]:
        return self.levels // 2

    def _codes(self, digits: Int[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        return (digits - self._half_width).float() / self._half_width

    def _bound(self, z: Float[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        """Squashes each channel so that rounding yields exactly `levels` integers."""
        half_range = (self.levels - 1) * (1 + 1e-3) / 2  # just reaches past the outer levels
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # an even grid is off centre by half
        return torch.tanh(z + torch.atanh(offset / half_range)) * half_range - offset

    def extra_repr(self) -> str:
        return f"levels={tuple(self.levels.tolist())}"
