"""No quantization: the control that bounds every quantizer from above.

The latent passes unchanged, so the rate is infinite and there are no indices. No method can
reconstruct better than this in the same frame, except by a lucky seed.
"""

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.registry import register


@register("none")
class NoQuantizer(Quantizer):
    """Identity without a codebook: `indices` has k = 0 codebooks, `bits_per_position` is infinite.

    Formula: z_q = z.

    Args:
        latent_channels: width of the continuous bottleneck.
    """

    control: ClassVar[str | None] = "upper bound: a continuous latent, infinite rate"
    breaks: ClassVar[Mapping[str, str]] = {
        "discrete": "a continuous latent has no codes, so indices cannot be decoded"
    }

    def __init__(self, *, latent_channels: int = 8) -> None:
        super().__init__(latent_channels=latent_channels, codebook_sizes=())

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        return QuantizerOutput(quantized=z, indices=z[:, :0].long())

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        raise TypeError("the control 'none' has no codes: a continuous latent cannot be decoded")

    @property
    def bits_per_position(self) -> float:
        return float("inf")
