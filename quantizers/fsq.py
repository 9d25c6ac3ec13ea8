"""Finite Scalar Quantization (FSQ): round every channel to a small fixed grid.

Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024,
https://arxiv.org/abs/2309.15505, section 3.1 and appendix A.1.

Deviations: appendix A.1 shifts even grids by tan and shrinks the range by 1e-3. Here the shift is
atanh, the inverse of the tanh that follows, so a zero latent stays at zero (an author confirmed
that this was meant: https://github.com/lucidrains/vector-quantize-pytorch/issues/94). The range is
widened by 1e-3, as in the implementation in common use, so two levels are possible too. Digits are
clamped, because 1e-3 of the range is more than half a level when a channel has over 1000 levels.

`symmetric` is the variant of Parker et al., "Scaling Transformers for Low-Bitrate High-Quality
Speech Coding", 2024, https://arxiv.org/abs/2411.19842, section 3.2, without its noise.

The entropy losses are those of VidTok (Tang et al. 2024, https://arxiv.org/abs/2412.13061). Their
weight is 0 here because FSQ has no losses. VidTok's configurations use 0.1, starting at three times
that and falling within 2000 steps, and a commitment loss of weight 0.25. The schedule and the
commitment loss are left out. Further deviations: VidTok's code compares the codes with the latent
before it is squashed, by 2 <z, code>, which favours the outer levels, and it clamps probabilities.
Here p(code | z) depends on the distance between the code and the squashed latent, and the entropies
are exact over all codes, by factorisation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.entropy import level_entropies
from quantizers.parts.losses import check_entropy_losses, entropy_losses
from quantizers.registry import register


@register("fsq")
class FSQ(Quantizer):
    """Learns nothing and needs no auxiliary loss; the codebook is the grid of all levels.

    Formula: z_q = round(h tanh(z + atanh(o / h)) - o) / floor(L / 2) with h = 1.001 (L - 1) / 2
    and o = 1/2 where L is even, else 0, in each channel.

    Args:
        levels: values per latent channel, L in the paper, which recommends at least 5 in each. The
            product is the codebook size: (8, 5, 5, 5) gives 1000 codes, 9.97 bits per position.
            In an index the first channel varies fastest.
        symmetric: levels at equal distances from -1 to 1, rounded from tanh(z) itself, so an even
            grid is as symmetric as an odd one. An even grid has no zero, and the outer cells are
            half as wide as the others.
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
        z = z.movedim(1, -1)
        steps = self._steps(z)
        # a tie goes to the even step, and in a symmetric grid to the lower one
        rounded = (steps - 0.5).ceil() if self.symmetric else steps.round()
        digits = (rounded.long() + self._half_width).clamp_min(0).minimum(self.levels - 1)
        return QuantizerOutput(
            quantized=straight_through(self._codes_at(steps), self._codes(digits)).movedim(-1, 1),
            indices=(digits * self.strides).sum(dim=-1).unsqueeze(1),
            losses=self._entropy_losses(z) if self.entropy_weight else {},
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        digits = indices.movedim(1, -1) // self.strides % self.levels
        return self._codes(digits).movedim(-1, 1)

    def _entropy_losses(self, z: Float[Tensor, "*position c"]) -> dict[str, Tensor]:
        u = self._codes_at(self._steps(z)).flatten(0, -2)
        digits = torch.arange(max(self._sizes), device=u.device).unsqueeze(1)
        codes = self._codes(digits)  # a channel ignores the rows past its own levels
        logits = [
            -(u[:, channel, None] - codes[:size, channel]).square() / self.temperature
            for channel, size in enumerate(self._sizes)
        ]
        return entropy_losses(
            level_entropies(logits, all_processes=self.training),
            entropy_weight=self.entropy_weight,
            diversity_weight=self.diversity_weight,
        )

    def _steps(self, z: Float[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        """Squashes each channel so that rounding gives `levels` integers, one of them 0."""
        span = (self.levels - 1).float()
        if self.symmetric:
            return torch.tanh(z) * (span / 2) - self._offset
        reach = span * (1 + 1e-3) / 2  # just past the outer levels
        return torch.tanh(z + torch.atanh(self._offset / reach)) * reach - self._offset

    def _codes_at(self, steps: Float[Tensor, "*position _"]) -> Float[Tensor, "*position c"]:
        if self.symmetric:
            return (steps + self._offset) / ((self.levels - 1).float() / 2)
        return steps / self._half_width

    def _codes(self, digits: Int[Tensor, "*position _"]) -> Float[Tensor, "*position c"]:
        return self._codes_at((digits - self._half_width).float())

    @property
    def _half_width(self) -> Int[Tensor, " c"]:
        return self.levels // 2

    @property
    def _offset(self) -> Float[Tensor, " c"]:
        """An even grid is off centre by half a step."""
        return (self.levels % 2 == 0).float() / 2

    def extra_repr(self) -> str:
        return f"levels={self._sizes}, symmetric={self.symmetric}"
