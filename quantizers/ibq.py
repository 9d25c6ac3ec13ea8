"""Index Backpropagation Quantization (IBQ): the gradient of the output reaches every code.

Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization", ICCV 2025,
https://arxiv.org/abs/2412.02692, section 3; start values, entropy weight and temperature as in the
released code (SEED-Voken).

Deviations: the released code puts beta on the codebook term; here it is on the commitment term,
as in the paper (https://github.com/TencentARC/SEED-Voken/issues/60). The entropies are exact; the
released code adds 1e-5 inside the logarithms.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.nearest.dot_products import dot_products
from quantizers.parts.entropy import code_sums, entropies_of_sums
from quantizers.parts.losses import (
    check_temperature,
    check_weight,
    codebook_losses,
    entropy_losses,
    mean_square,
)
from quantizers.parts.soft_codes import Results, checkpointed, soft_assignment
from quantizers.registry import register


@register("ibq")
class IBQ(Quantizer):
    """The code with the largest dot product is selected; gradients see a softmax of the products.

    Formula: z_q = e_k with k = argmax_j <z, e_j>; the gradient is that of softmax(<z, e_j>) e.

    The one-hot index Ind passes its gradient to that softmax, so the decoder trains the latent and
    all codes. Losses: ||z_q - z||^2, where z_q has the gradient of the softmax, and codebook and
    commitment loss of the selected code.

    Args:
        latent_channels: channels of a code, D in the paper.
        codebook_size: number of codes, K in the paper.
        commitment_weight: beta in the paper.
        entropy_weight: weight of (mean entropy of a token's soft code) - (entropy of the batch's
            mean soft code).
        temperature: temperature of the soft code in the entropies; the index has temperature 1.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "a longer code can have a larger dot product with a code than the code itself"
    }

    codebook: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 256,
        codebook_size: int,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.05,
        temperature: float = 0.01,
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"IBQ needs a codebook_size of at least 2, got {codebook_size}")
        check_temperature(temperature)
        check_weight("commitment_weight", commitment_weight)
        check_weight("entropy_weight", entropy_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.temperature = temperature
        self.codebook = nn.Parameter(torch.randn(codebook_size, latent_channels))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        latents = u.flatten(0, -2)
        (quantized, indices), sums = checkpointed(
            self._select, latents, floats_per_row=len(self.codebook)
        )
        code = F.embedding(indices, self.codebook)
        losses = codebook_losses(latents, code, commitment_weight=self.commitment_weight)
        losses["quantization"] = mean_square(quantized, latents)
        if sums:
            tokens = latents.shape[0]
            entropies = entropies_of_sums(*sums, tokens=tokens, all_processes=self.training)
            losses |= entropy_losses(entropies, entropy_weight=self.entropy_weight)
        return QuantizerOutput(
            quantized=quantized.view(u.shape).movedim(-1, 1),
            indices=indices.view(u.shape[:-1]).unsqueeze(1),
            losses=losses,
        )

    def _select(self, latents: Float[Tensor, "n c"]) -> Results:
        """Code and index of each token; sums for the entropies, if they are losses."""
        logits = dot_products(latents, self.codebook)
        indices = logits.max(dim=1).indices  # a tie goes to the lowest index
        quantized = soft_assignment(logits.softmax(dim=1), indices, self.codebook)
        sums = code_sums(logits / self.temperature) if self.entropy_weight else ()
        return (quantized, indices), sums

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)
