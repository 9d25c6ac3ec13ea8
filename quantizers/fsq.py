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
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.entropy import level_entropies
from quantizers.parts.losses import check_entropy_losses, entropy_losses
from quantizers.registry import register

_MOST_UNCLAMPED = 1000


class _StraightThroughGrid(torch.autograd.Function):
    """The code of each latent, with the gradient of the squashed latent, and its steps from zero.

    A single node: of so few numbers the time goes into operators and what autograd keeps for them.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, grid: Tensor, symmetric: bool, clamped: bool
    ) -> tuple[Tensor, Tensor]:
        shift, reach, offset, center, unit, lowest, highest = grid.unbind()
        tanh, steps = _squash(z.movedim(1, -1), shift, reach, offset)
        steps = steps.sub_(0.5).ceil_() if symmetric else steps.round_()  # a tie: down, or to even
        if clamped:
            steps = steps.clamp_(lowest, highest)
        ctx.save_for_backward(tanh, reach, unit)
        ctx.mark_non_differentiable(steps)
        return steps.add(center).div_(unit).movedim(-1, 1), steps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        tanh, reach, unit = ctx.saved_tensors
        grad = (grad.movedim(1, -1) / unit).mul_(reach)
        return torch.ops.aten.tanh_backward(grad, tanh).movedim(-1, 1), None, None, None


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
    grid_bits: Int[Tensor, "7 c"]

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
        bits = _grid(self.levels, symmetric).view(torch.int32)  # floats `half()` would round
        self.register_buffer("grid_bits", bits, persistent=False)
        self._index_of_no_steps = sum(
            size // 2 * stride for size, stride in zip(levels, strides, strict=True)
        )

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        clamped = max(self._sizes) > _MOST_UNCLAMPED
        quantized, steps = _StraightThroughGrid.apply(z, self._grid, self.symmetric, clamped)
        indices = (steps.long() * self.strides).sum(dim=-1) + self._index_of_no_steps
        return QuantizerOutput(
            quantized=quantized, indices=indices.unsqueeze(1), losses=self._losses(z)
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        digits = indices.movedim(1, -1) // self.strides % self.levels
        return self._codes(digits).movedim(-1, 1)

    def _losses(self, z: Float[Tensor, "b c *spatial"]) -> dict[str, Tensor]:
        if not self.entropy_weight:
            return {}
        center, unit = self._grid[3:5]
        u = (self._bound(z.movedim(1, -1)) + center) / unit
        channels = u.flatten(0, -2).unbind(dim=1)
        logits = [
            -(channel.unsqueeze(1) - codes).square() / self.temperature
            for channel, codes in zip(channels, self._codes_of_channels(), strict=True)
        ]
        return entropy_losses(
            level_entropies(logits, all_processes=self.training),
            entropy_weight=self.entropy_weight,
            diversity_weight=self.diversity_weight,
        )

    def _bound(self, z: Float[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        """Squashes each channel so that rounding yields exactly `levels` integers."""
        return _squash(z, *self._grid[:3])[1]

    def _codes_of_channels(self) -> list[Float[Tensor, " _"]]:
        """The levels of each channel, lowest first."""
        digits = torch.arange(max(self._sizes), device=self.levels.device)
        codes = self._codes(digits.unsqueeze(1))  # past its levels a channel's rows mean nothing
        return [codes[:size, channel] for channel, size in enumerate(self._sizes)]

    def _codes(self, digits: Int[Tensor, "*position _"]) -> Float[Tensor, "*position c"]:
        center, unit = self._grid[3:5]
        return ((digits - self.levels // 2).float() + center) / unit

    @property
    def _grid(self) -> Float[Tensor, "7 c"]:
        return self.grid_bits.view(torch.float32)

    def extra_repr(self) -> str:
        return f"levels={self._sizes}, symmetric={self.symmetric}"


def _squash(
    z: Float[Tensor, "*position c"], shift: Tensor, reach: Tensor, offset: Tensor
) -> tuple[Float[Tensor, "*position c"], Float[Tensor, "*position c"]]:
    """The hyperbolic tangent, and what is made of it to be rounded; see `_grid`."""
    tanh = torch.tanh(z + shift)
    return tanh, tanh * reach - offset


def _grid(levels: Int[Tensor, " c"], symmetric: bool) -> Float[Tensor, "7 c"]:
    """What makes a channel's grid: shift, reach, offset, center, unit, lowest and highest step.

    A latent is round(reach tanh(z + shift) - offset) steps from zero, and its code is (steps +
    center) / unit.
    """
    half_range = (levels - 1).float() / 2
    offset = (levels % 2 == 0).float() / 2  # an even grid is off centre by half
    lowest = -(levels // 2).float()
    bounds = [lowest, levels - 1 + lowest]
    if symmetric:
        zero = torch.zeros_like(half_range)
        return torch.stack([zero, half_range, offset, offset, half_range, *bounds])
    reach = (levels - 1).float() * (1 + 1e-3) / 2  # just past the outer levels
    shift = torch.atanh(offset / reach)
    return torch.stack([shift, reach, offset, torch.zeros_like(reach), -lowest, *bounds])
