"""Grouped Look-up Free Quantization: LFQ with entropies per group of bits.

Zhuang et al., "WeTok: Powerful Discrete Tokenization for High-Fidelity Visual Reconstruction", ICLR
2026, https://arxiv.org/abs/2508.05599, group-wise look-up free quantization (GQ); temperature and
weights as in the authors' code (https://github.com/zhuangshaobin/WeTok). The paper's generative
decoder is not part of a quantizer.

Deviations: the authors' code averages the soft codes over tokens and groups, so all groups share
one distribution over 2^d codes, and its entropy of a token is the mean over groups. Here every
group keeps its own distribution, and both entropies are sums over groups, as in the paper. They are
exact, by factorisation, without a constant inside the logarithm. A zero is the bit 0. In an index
the first channel of a group is the most significant bit; in the authors' code it is the least.
"""

from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.bits import bit_losses, bit_values, pack, unpack
from quantizers.parts.losses import check_entropy_losses, check_weight
from quantizers.registry import register


@register("grouped_lfq")
class GroupedLFQ(Quantizer):
    """Codes are the vertices of the cube {-1, 1}^(G d), indexed group by group; nothing is learned.

    Formula: z_q,i = sign(z_i) in {-1, 1}; entropies over the 2^d codes of each group.

    The output is that of LFQ. Only the entropies differ: their cost grows with 2^d instead of
    2^(G d). One group is LFQ; groups of one bit treat all bits as independent.

    Args:
        groups: number of groups, G.
        group_channels: bits of one group, d.
        entropy_weight: weight of both entropy terms, each summed over the groups. The first lowers
            the entropy of a token's soft code (certainty), the second raises the entropy of the
            mean over the batch (diversity).
        diversity_weight: weight of the second relative to the first, gamma.
        temperature: tau of a group's soft code, p(code | z) proportional to
            exp(2 <z, code> / tau).
        commitment_weight: beta, on the mean over all elements of (z - sg(code))^2.
    """

    bit_values: Int[Tensor, " d"]

    def __init__(
        self,
        *,
        groups: int,
        group_channels: int,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 0.01,
        commitment_weight: float = 0.25,
    ) -> None:
        if groups < 1 or not 1 <= group_channels <= 62:
            raise ValueError(
                "grouped LFQ needs groups >= 1 and packs 1 to 62 group_channels in an index, "
                f"got {groups} and {group_channels}"
            )
        check_entropy_losses(
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            codes=2**group_channels,
            remedy="more groups make them fewer, and entropy_weight=0 leaves it out",
        )
        check_weight("commitment_weight", commitment_weight)
        super().__init__(
            latent_channels=groups * group_channels, codebook_sizes=(2**group_channels,) * groups
        )
        self.groups = groups
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        self.commitment_weight = commitment_weight
        self.register_buffer("bit_values", bit_values(group_channels), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1).unflatten(-1, (self.groups, -1))  # groups are contiguous channels
        bits = u > 0
        code = bits.to(u.dtype) * 2 - 1
        return QuantizerOutput(
            quantized=straight_through(u, code).flatten(-2).movedim(-1, 1),
            indices=pack(bits, self.bit_values).movedim(-1, 1),
            losses=bit_losses(
                u,
                code,
                logit_scale=4 / self.temperature,  # exp(2 z / tau) against exp(-2 z / tau)
                commitment_weight=self.commitment_weight,
                entropy_weight=self.entropy_weight,
                diversity_weight=self.diversity_weight,
                all_processes=self.training,
            ),
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        bits = unpack(indices.movedim(1, -1), self.bit_values)
        return (bits.float() * 2 - 1).flatten(-2).movedim(-1, 1)
