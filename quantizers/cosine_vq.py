"""Cosine VQ: look codes up by direction, on the unit sphere of a latent with few channels.

Yu et al., "Vector-quantized Image Modeling with Improved VQGAN" (ViT-VQGAN), ICLR 2022,
https://arxiv.org/abs/2110.04627, section 3.2 (factorized and l2-normalized codes); width and start
values as in LlamaGen (Sun et al. 2024, https://arxiv.org/abs/2406.06525), which uses 8 channels;
ViT-VQGAN uses 32.

Deviations: both papers project features to the latent and back; here the adapter that every
quantizer has does this. LlamaGen's entropy loss is left out; its weight in LlamaGen's recipe is 0.
One channel is refused, because such a sphere has only two points.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator, estimate
from quantizers.nearest import nearest
from quantizers.parts.losses import check_weight, codebook_losses
from quantizers.parts.unit_length import normalize
from quantizers.registry import register


@register("cosine_vq")
class CosineVQ(Quantizer):
    """Latents and codes are normalised; the code emitted is the unit vector that was looked up.

    Formula: z_q = e_k / |e_k| with k = argmax_j <z, e_j> / |e_j|.

    The losses also compare unit vectors, so no gradient changes the length of a latent or a code.

    Args:
        latent_channels: channels of a code, at least 2; the factorized dimension of the paper.
        codebook_size: number of codes.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up between unit vectors, `straight_through` as in both
            papers, `rotation` (Fifty et al. 2024) or `diveq` (Vali et al. 2025).
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
        if latent_channels < 2 or codebook_size < 2:
            raise ValueError(
                "CosineVQ needs latent_channels >= 2 and codebook_size >= 2, got "
                f"{latent_channels} and {codebook_size}"
            )
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        cube = torch.empty(codebook_size, latent_channels).uniform_(-1, 1)
        self.codebook = nn.Parameter(F.normalize(cube, dim=-1))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = normalize(z.movedim(1, -1))
        indices = nearest(u.flatten(0, -2), self.codebook, spherical=True).view(u.shape[:-1])
        code = self._look_up(indices)
        return QuantizerOutput(
            quantized=estimate(self.estimator, u, code).movedim(-1, 1),
            indices=indices.unsqueeze(1),
            losses=codebook_losses(u, code, commitment_weight=self.commitment_weight),
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return self._look_up(indices.squeeze(1)).movedim(-1, 1)

    def _look_up(self, indices: Int[Tensor, "*position"]) -> Float[Tensor, "*position c"]:
        return F.embedding(indices, F.normalize(self.codebook, dim=-1))
