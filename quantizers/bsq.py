"""Binary Spherical Quantization (BSQ): the signs of a latent on the unit sphere.

Zhao, Xiong, Krähenbühl, "Image and Video Tokenization with Binary Spherical Quantization", ICLR
2025, https://arxiv.org/abs/2406.07548, section 4; temperature and weights as in the authors'
configurations (https://github.com/zhaoyue-zephyrus/bsq-vit).

As in the authors' code, the gradient sees u / sqrt(L): the straight-through step leads from u to
sign(u), and both are then divided by sqrt(L). So a gradient g of the output is g / sqrt(L) at u,
and reaches the latent through the normalisation. A straight-through step from u to the code would
make it sqrt(L) times as large.

Deviations: the entropy of the batch is exact over all 2^L codes, by factorisation; the authors sum
the entropies of groups of bits, an upper bound. Their entropy weight starts at three times its
value, falls within the first steps, and is multiplied by the temperature, which is 1; here it is
constant. A zero is the bit 0.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.bits import bit_losses, bit_values, pack, unpack
from quantizers.parts.losses import check_entropy_losses, check_weight
from quantizers.parts.unit_length import normalize
from quantizers.registry import register


@register("bsq")
class BSQ(Quantizer):
    """Codes are the 2^L corners {-1/sqrt(L), 1/sqrt(L)}^L of a cube in the unit sphere.

    Formula: z_q = sign(u) / sqrt(L) with u = z / |z|.

    Nothing is learned. In an index the first channel is the most significant bit.

    Args:
        latent_channels: bits, L in the paper.
        entropy_weight: weight of both entropy terms. The first lowers the entropy of a token's
            soft code (certainty), the second raises the entropy of the mean over the batch
            (diversity).
        diversity_weight: weight of the second relative to the first, gamma in the paper.
        temperature: tau of the soft code, p(code | u) proportional to exp(2 <u, code> / tau).
        commitment_weight: beta, on the mean over all elements of (u - sg(code))^2. It is 0 in the
            authors' configurations; their code sums over channels, so its beta counts L times.
    """

    bit_values: Int[Tensor, " c"]

    def __init__(
        self,
        *,
        latent_channels: int,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        temperature: float = 1.0,
        commitment_weight: float = 0.0,
    ) -> None:
        if not 2 <= latent_channels <= 62:  # a sphere of one channel passes no gradient
            raise ValueError(f"BSQ packs 2 to 62 bits in an index, got {latent_channels}")
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
        v = z.movedim(1, -1)
        u = normalize(v)
        bits = v > 0  # not u > 0, because u may underflow to zero
        code = self._codes(bits)
        return QuantizerOutput(
            quantized=straight_through(u * self._coordinate, code).movedim(-1, 1),
            indices=pack(bits, self.bit_values).unsqueeze(1),
            losses=bit_losses(
                u.unsqueeze(-2),
                code.unsqueeze(-2),
                # exp(2 u / (tau sqrt(L))) against its inverse: the logit is twice this exponent
                logit_scale=4 * self._coordinate / self.temperature,
                commitment_weight=self.commitment_weight,
                entropy_weight=self.entropy_weight,
                diversity_weight=self.diversity_weight,
                all_processes=self.training,
            ),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        bits = unpack(indices.squeeze(1), self.bit_values)
        return self._codes(bits).movedim(-1, 1)

    @property
    def _coordinate(self) -> float:
        """Absolute value of every coordinate of a code, 1 / sqrt(L)."""
        return self.latent_channels**-0.5

    def _codes(self, bits: Bool[Tensor, "*position c"]) -> Float[Tensor, "*position c"]:
        return (bits.float() * 2 - 1) * self._coordinate
