"""Finite Scalar Quantization (FSQ): round every channel to a small fixed grid.

Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024,
https://arxiv.org/abs/2309.15505, section 3.1 and appendix A.1.

Deviations: appendix A.1 shifts even grids by tan and shrinks the range by 1e-3. Here the shift is
atanh, the inverse of the tanh that follows, so that a zero latent stays at zero (an author
confirmed that this was meant: https://github.com/lucidrains/vector-quantize-pytorch/issues/94),
and the range is widened by 1e-3, as in the implementation in common use, so that two levels are
possible too. A channel of more than 1000 levels is clamped: there 1e-3 of the range is a level.

`symmetric` is the variant of Parker et al., "Scaling Transformers for Low-Bitrate High-Quality
Speech Coding", 2024, https://arxiv.org/abs/2411.19842, section 3.2, without its noise.

The entropy losses are those that VidTok offers (Tang et al. 2024,
https://arxiv.org/abs/2412.13061). Their weight is 0 here, as FSQ has none; VidTok's configurations
have 0.1, falling from three times that within 2000 steps, and a commitment loss of weight 0.25.
Both are left out. Further deviations: that code compares the codes with the latent before it is
squashed, by 2 <z, code>, which favours the outer levels, and it clamps probabilities. Here
p(code | z) depends on the distance of the code from the squashed latent, and the entropies are
exact over all codes, by factorisation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.entropy import level_entropies
from quantizers.estimators import straight_through
from quantizers.losses import check_entropy_losses, entropy_losses
from quantizers.registry import register


@register("fsq")
class FSQ(Quantizer):
    """Learns nothing and needs no auxiliary loss; the codebook is the grid of all levels.

    Formula: z_q = round(h tanh(z + atanh(o / h)) - o) / floor(L / 2) with h = 1.001 (L - 1) / 2
    and o = 1/2 where L is even, else 0, in each channel.

    Args:
        levels: values per latent channel, L in the paper; it recommends at least 5 each. The
            product is the codebook size: (8, 5, 5, 5) gives 1000 codes, 9.97 bits per position.
            In an index the first channel varies fastest.
        symmetric: levels at equal distances from -1 to 1, rounded from tanh(z) itself, so that an
            even grid is as symmetric as an odd one. It has no zero, and the outer cells are half as
            wide as the others.
        entropy_weight: weight of both entropy terms. The first lowers the entropy of a token's soft
            code (certainty), the second raises the entropy of the mean over the batch (diversity).
        diversity_weight: weight of the second relative to the first.
        temperature: tau of the soft code, p(code | z) proportional to exp(-|u - code|^2 / tau),
            where u is the squashed latent.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "tanh squashes a code like any other latent, so a code is not its own latent"
    }

    levels: Int[Tensor, " c"]
    strides: Int[Tensor, " c"]

    def __init__(
        self,
        *,
        levels: Sequence[int],
        symmetric: bool = False,
        entropy_weight: float = 0.0,
        diversity_weight: float = 1.0,
        temperature: float = 0.01,
    ) -> None:
        levels = tuple(levels)
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQ needs at least 2 levels in every channel, got {levels}")
        codebook_size = math.prod(levels)
        if codebook_size >= 2**63:
            raise ValueError(f"FSQ levels {levels} make {codebook_size} codes, more than 2^63 - 1")
        check_entropy_losses(
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            codes=codebook_size,
        )
        super().__init__(latent_channels=len(levels), codebook_sizes=(codebook_size,))
        self._sizes = levels
        self.symmetric = symmetric
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        strides = [math.prod(levels[:channel]) for channel in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        if self.symmetric:
            u = torch.tanh(z.movedim(1, -1))
            digits = (
                ((u + 1) * (self.levels - 1) / 2 - 0.5).ceil().long()
            )  # ties to the lower level
        else:
            bounded = self._bound(z.movedim(1, -1))
            u = bounded / self._unit
            digits = bounded.round().long() + self._unit  # 0 .. levels - 1 in each channel
        digits = torch.minimum(digits.clamp(min=0), self.levels - 1)  # matters past 1000 levels
        return QuantizerOutput(
            quantized=straight_through(u, self._codes(digits)).movedim(-1, 1),
            indices=(digits * self.strides).sum(dim=-1).unsqueeze(1),
            losses=self._losses(u),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        digits = indices.movedim(1, -1) // self.strides % self.levels
        return self._codes(digits).movedim(-1, 1)

    def _losses(self, u: Float[Tensor, "*position c"]) -> dict[str, Tensor]:
        if not self.entropy_weight:
            return {}
        logits = [
            -(channel.unsqueeze(1) - codes).square() / self.temperature
            for channel, codes in zip(u.flatten(0, -2).unbind(dim=1), self._grid(), strict=True)
        ]
        return entropy_losses(
            level_entropies(logits, all_processes=self.training),
            entropy_weight=self.entropy_weight,
            diversity_weight=self.diversity_weight,
        )

    def _grid(self) -> list[Float[Tensor, " _"]]:
        """The levels of each channel, lowest first."""
        digits = torch.arange(max(self._sizes), device=self.levels.device)
        codes = self._codes(digits.unsqueeze(1))  # past its levels a channel's rows mean nothing
        return [codes[:size, channel] for channel, size in enumerate(self._sizes)]

    @property
    def _unit(self) -> Int[Tensor, " c"]:
        """How many steps of a code's integer form make 1."""
        return self.levels - 1 if self.symmetric else self.levels // 2

    def _codes(self, digits: Int[Tensor, "*position _"]) -> Float[Tensor, "*position c"]:
        steps = 2 * digits if self.symmetric else digits
        return (steps - self._unit).float() / self._unit

    def _bound(self, z: Float[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        """Squashes each channel so that rounding yields exactly `levels` integers."""
        half_range = (self.levels - 1) * (1 + 1e-3) / 2  # just reaches past the outer levels
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)  # an even grid is off centre by half
        return torch.tanh(z + torch.atanh(offset / half_range)) * half_range - offset

    def extra_repr(self) -> str:
        return f"levels={self._sizes}, symmetric={self.symmetric}"
