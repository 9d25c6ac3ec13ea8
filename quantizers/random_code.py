"""Random codes: the control that bounds every quantizer from below.

The codebook is frozen, and the index at a position is a fixed hash of only that position. So all
images get the same codes, the indices carry no information, and a decoder can only learn the one
picture that is closest to all images. A method that is not better than this in the same frame sends
nothing through its bottleneck. Codes differ between positions, so the decoder can tell positions
apart.

The hash is the multiplicative one of Knuth, "The Art of Computer Programming", volume 3, section
6.4. It spreads the positions, counted in memory order, evenly over the codebook.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.registry import register

_HASH_BITS = 32
_HASH_MULTIPLIER = 2654435769  # 2^32 over the golden ratio


@register("random_code")
class RandomCode(Quantizer):
    """Codes of a frozen normal codebook, chosen without reading the latent.

    Formula: z_q = e_k with k = floor(V frac(p / golden ratio)) at position p.

    No gradient trains the codebook or reaches the latent.

    Args:
        latent_channels: channels of a code.
        codebook_size: number of codes; it sets the nominal rate, and so the control's table.
    """

    control: ClassVar[str | None] = "lower bound: indices that do not depend on the image"
    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "the index belongs to the position, so a code is not looked up",
        "gradient": "the output does not depend on the latent",
        "locality": "the index is a hash of the position",
    }

    codebook: Float[Tensor, "v c"]

    def __init__(self, *, latent_channels: int = 8, codebook_size: int) -> None:
        if codebook_size < 2:
            raise ValueError(
                f"random_code needs a codebook_size of at least 2, got {codebook_size}"
            )
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.register_buffer("codebook", torch.randn(codebook_size, latent_channels))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        batch, _, *spatial = z.shape
        indices = self._hashed_positions(spatial).repeat(batch, 1, *[1] * len(spatial))
        # the zero keeps the graph connected, so a backward pass gives a gradient of zero
        quantized = straight_through(0 * z, self.dequantize(indices))
        return QuantizerOutput(quantized=quantized, indices=indices)

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    def _hashed_positions(self, spatial: Sequence[int]) -> Int[Tensor, "1 1 *spatial"]:
        positions = torch.arange(math.prod(spatial), device=self.codebook.device)
        hashes = positions * _HASH_MULTIPLIER % 2**_HASH_BITS
        return (hashes * len(self.codebook) >> _HASH_BITS).view(1, 1, *spatial)
