"""Look-up Free Quantization (LFQ): the sign of every channel is one bit.

Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (MAGVIT-v2),
ICLR 2024, https://arxiv.org/abs/2310.05737, section 3.1; temperature and weights as in
Open-MAGVIT2 (Luo et al. 2024, https://arxiv.org/abs/2409.04410).

Deviations: both entropies are exact over all 2^K codes, by factorisation; released code enumerates
the codes and clamps their probabilities. A zero is the bit 0. In an index the first channel is the
most significant bit; in Open-MAGVIT2 it is the least.
"""

from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.bits import bit_losses, bit_values, pack, unpack
from quantizers.parts.losses import check_entropy_losses, check_weight
from quantizers.registry import register


@register("lfq")
class LFQ(Quantizer):
    """Codes are the 2^K vertices of the cube {-1, 1}^K; nothing is learned.

    Formula: z_q,i = sign(z_i) in {-1, 1}.

    Args:
        latent_channels: bits, K = log2 of the codebook size.
        entropy_weight: weight of both entropy terms (0.1 in Open-MAGVIT2). The first lowers the
            entropy of a token's soft code (certainty), the second raises the entropy of the mean
            over the batch (diversity).
        diversity_weight: weight of the second relative to the first, gamma.
        temperature: tau of the soft code, p(code | z) proportional to exp(2 <z, code> / tau).
        commitment_weight: beta, on the mean over all elements of (z - sg(code))^2.
    """

    bit_values: Int[Tensor, " c"]

    def __init__(
        self,
        *,
        latent_channels: int,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 0.01,
        commitment_weight: float = 0.25,
    ) -> None:
        if not 1 <= latent_channels <= 62:
            raise ValueError(f"LFQ packs 1 to 62 bits in an index, got {latent_channels}")
        check_entropy_losses(
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            codes=2**latent_channels,
        )
        check_weight("commitment_weight", commitment_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(2**latent_channels,))
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        self.commitment_weight = commitment_weight
        self.register_buffer("bit_values", bit_values(latent_channels), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        bits = u > 0
        code = bits.to(u.dtype) * 2 - 1
        return QuantizerOutput(
            quantized=straight_through(u, code).movedim(-1, 1),
            indices=pack(bits, self.bit_values).unsqueeze(1),
            losses=bit_losses(
                u.unsqueeze(-2),
                code.unsqueeze(-2),
                logit_scale=4 / self.temperature,  # exp(2 z / tau) against exp(-2 z / tau)
                commitment_weight=self.commitment_weight,
                entropy_weight=self.entropy_weight,
                diversity_weight=self.diversity_weight,
                all_processes=self.training,
            ),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        bits = unpack(indices.squeeze(1), self.bit_values)
        return (bits.float() * 2 - 1).movedim(-1, 1)
