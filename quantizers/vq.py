"""Vector Quantization (VQ): every latent becomes its nearest code.

Van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017,
https://arxiv.org/abs/1711.00937, equations 1 to 3; codes start uniform in [-1/V, 1/V] as in
VQGAN (Esser, Rombach, Ommer, CVPR 2021, https://arxiv.org/abs/2012.09841).

Deviation: VQGAN's released code puts beta on the codebook term; here it is on the commitment
term, as in equation 3.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator, estimate
from quantizers.losses import check_weight, codebook_losses
from quantizers.nearest import nearest
from quantizers.registry import register


@register("vq")
class VQ(Quantizer):
    """One codebook, trained by gradient.

    Args:
        latent_channels: channels of a code, D in the paper.
        codebook_size: number of codes, K in the paper.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up, `straight_through` as in the paper or `rotation`
            (Fifty et al. 2024).
    """

    codebook: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"VQ needs a codebook_size of at least 2, got {codebook_size}")
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        bound = 1 / codebook_size
        self.codebook = nn.Parameter(
            torch.empty(codebook_size, latent_channels).uniform_(-bound, bound)
        )

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        indices = nearest(u.flatten(0, -2), self.codebook).view(u.shape[:-1])
        code = F.embedding(indices, self.codebook)
        return QuantizerOutput(
            quantized=estimate(self.estimator, u, code).movedim(-1, 1),
            indices=indices.unsqueeze(1),
            losses=codebook_losses(u, code, commitment_weight=self.commitment_weight),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    def extra_repr(self) -> str:
        size, channels = self.codebook.shape
        return f"codebook_size={size}, latent_channels={channels}"
