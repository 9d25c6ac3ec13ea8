"""SimVQ: frozen random codes, seen through one trainable linear map.

Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer",
ICCV 2025, https://arxiv.org/abs/2411.02038: the codebook C of VQ becomes C W (reparameterization
by a latent basis), with C frozen and the losses of VQ unchanged.

Deviations: the released code adds a bias to W; here there is none, as in the paper's formula
(`group_vq` has the bias). The released decoder looks up rows of C without W; here a decoded code is
the one that was looked up. The released default puts beta on the codebook term; here it is on the
commitment term, as in the released configurations (`legacy: false`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator
from quantizers.parts.look_up import nearest_code
from quantizers.parts.losses import check_weight
from quantizers.registry import register


@register("simvq")
class SimVQ(Quantizer):
    """All codes share one trainable matrix, so the gradient of a single code moves all of them.

    Formula: z_q = c_k W with k = argmin_j |z - c_j W|^2; c is frozen, W is trained.

    Args:
        latent_channels: channels of a code, d in the paper.
        codebook_size: number of codes, K in the paper.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up, `straight_through` as in the paper, `rotation` (Fifty et
            al. 2024) or `diveq` (Vali et al. 2025).

    Attributes:
        core: the frozen codes C, normal with variance 1/d.
        projection: the map W, which starts like any linear layer of torch.
    """

    core: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"SimVQ needs a codebook_size of at least 2, got {codebook_size}")
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        core = torch.randn(codebook_size, latent_channels) / latent_channels**0.5
        self.register_buffer("core", core)
        self.projection = nn.Linear(latent_channels, latent_channels, bias=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        return nearest_code(
            z,
            self.codebook,
            commitment_weight=self.commitment_weight,
            estimator=self.estimator,
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    @property
    def codebook(self) -> Float[Tensor, "v c"]:
        """The codes C W, in float32 even when decoding under autocast."""
        with torch.autocast(self.core.device.type, enabled=False):
            return self.projection(self.core)
