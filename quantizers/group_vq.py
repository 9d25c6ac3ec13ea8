"""Group-VQ: the codes form groups, and each group has its own trainable linear map.

Zheng, Li, "Group-Wise Optimization for Self-Extensible Codebooks in Vector Quantized Models", 2025,
https://arxiv.org/abs/2510.13331: the codes of group j are V_j W_j + b_j, with V_j frozen and
normal; a latent is looked up among the codes of all groups. With one group it is SimVQ with a bias;
with groups of one code it is VQ.

Deviations: self-extension, which draws further codes after training, is left out because it changes
the rate. Core and projectors start as in SimVQ.
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


@register("group_vq")
class GroupVQ(Quantizer):
    """Codes of a group move together, independently of other groups.

    Formula: z_q = e_k with k = argmin_i |z - e_i|^2; the codes of group j are V_j W_j + b_j.

    Args:
        latent_channels: channels of a code, d in the paper.
        codebook_size: number of codes, n in the paper.
        codebook_groups: number of equally large groups, k in the paper; it must divide
            `codebook_size`. These are groups of codes, not of channels as in GSQ.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up, `straight_through` as in the paper, `rotation` (Fifty et
            al. 2024) or `diveq` (Vali et al. 2025).

    Attributes:
        core: the frozen codes V_j of each group, normal with variance 1/d.
        projectors: the maps W_j.
        biases: the offsets b_j.
    """

    core: Float[Tensor, "k v_k c"]
    projectors: Float[Tensor, "k c c"]
    biases: Float[Tensor, "k 1 c"]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        codebook_groups: int,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if codebook_size < 2 or codebook_groups < 1 or codebook_size % codebook_groups:
            raise ValueError(
                "GroupVQ needs a codebook_size of at least 2 and codebook_groups >= 1 that divide "
                f"it, got {codebook_size} and {codebook_groups}"
            )
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        groups, rows, d = codebook_groups, codebook_size // codebook_groups, latent_channels
        bound = d**-0.5  # as torch.nn.Linear, one per group
        self.register_buffer("core", torch.randn(groups, rows, d) / d**0.5)
        self.projectors = nn.Parameter(torch.empty(groups, d, d).uniform_(-bound, bound))
        self.biases = nn.Parameter(torch.empty(groups, 1, d).uniform_(-bound, bound))

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
        """The codes of all groups, group after group, in float32 even under autocast."""
        with torch.autocast(self.core.device.type, enabled=False):
            return (self.core @ self.projectors + self.biases).flatten(0, 1)
