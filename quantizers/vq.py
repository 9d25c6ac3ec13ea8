"""Vector Quantization (VQ): every latent becomes its nearest code.

Van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017,
https://arxiv.org/abs/1711.00937, equations 1 to 3; codes start uniform in [-1/V, 1/V] as in
VQGAN (Esser, Rombach, Ommer, CVPR 2021, https://arxiv.org/abs/2012.09841).

Deviation: VQGAN's released code puts beta on the codebook term; here it is on the commitment
term, as in equation 3.

With `init="kmeans"` the codes start like `uniform` and move once, in the first update, to the
k-means centres of the latents of the first step, as in SoundStream (Zeghidour et al. 2021,
https://arxiv.org/abs/2107.03312, section III-C).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator
from quantizers.parts.kmeans import kmeans
from quantizers.parts.look_up import nearest_code
from quantizers.parts.losses import check_weight
from quantizers.parts.once import Once
from quantizers.registry import register

Init = Literal["uniform", "kmeans"]


@register("vq")
class VQ(Quantizer):
    """One codebook, trained by gradient.

    Formula: z_q = e_k with k = argmin_j |z - e_j|^2.

    Args:
        latent_channels: channels of a code, D in the paper.
        codebook_size: number of codes, K in the paper.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up, `straight_through` as in the paper, `rotation` (Fifty et
            al. 2024) or `diveq` (Vali et al. 2025).
        init: `uniform` in [-1/V, 1/V], or `kmeans` of the latents of the first step.

    Attributes:
        has_centres: with `kmeans`, whether the codes have moved to the centres.
    """

    codebook: Float[Tensor, "v c"]
    has_centres: Bool[Tensor, ""]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
        init: Init = "uniform",
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"VQ needs a codebook_size of at least 2, got {codebook_size}")
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        if init not in get_args(Init):
            raise ValueError(f"VQ expects init 'uniform' or 'kmeans', got {init!r}")
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        bound = 1 / codebook_size
        self.codebook = nn.Parameter(
            torch.empty(codebook_size, latent_channels).uniform_(-bound, bound)
        )
        self.init: Init = init
        if init == "kmeans":
            self.register_buffer("has_centres", torch.tensor(False))
            self.start = Once(latent_channels, all_forwards=True)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        if self.init == "kmeans" and self.training:
            self.start.collect(z.movedim(1, -1).flatten(0, -2))
        return nearest_code(
            z,
            self.codebook,
            commitment_weight=self.commitment_weight,
            estimator=self.estimator,
        )

    @torch.no_grad()
    def update(self) -> None:
        """The first time, moves the codes to the k-means centres of all latents so far.

        In a distributed run every process calls it, with at least one latent, and all end with the
        same codes.
        """
        if self.init == "kmeans" and (latents := self.start.take(self.has_centres)) is not None:
            self.codebook.copy_(kmeans(latents, len(self.codebook)))

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)
