"""Product quantization: split every latent into groups of channels, one codebook for each group.

Jégou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011,
https://inria.hal.science/inria-00514462, section II-B; trained by gradient as in Chen, Li, Sun,
"Differentiable Product Quantization for End-to-End Embedding Compression", ICML 2020,
https://arxiv.org/abs/1908.09756, with the Euclidean distance.

Deviations: codes start and are trained as in VQ, without k-means, and distances are not normalised
over a batch.
"""

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator
from quantizers.parts.groups import dequantize_groups, quantize_groups
from quantizers.parts.losses import check_weight
from quantizers.registry import build, register


@register("product_vq")
class ProductVQ(Quantizer):
    """Codes are the Cartesian product of G codebooks: V^G codes from G * V stored rows.

    Formula: z_q,g = e_g,k with k = argmin_j |z_g - e_g,j|^2, in each group g of channels.

    The nearest code of the product consists of the nearest code in each group, so the search over
    all V^G codes is exact. The losses are those of VQ with the product as its codebook.

    Args:
        groups: number of subvectors, m in the paper; the latent has m * D* channels.
        group_channels: channels of a subvector, D* in the paper.
        codebook_size: codes of one subquantizer, k* in the paper.
        commitment_weight: beta of VQ, on the mean over all channels.
        estimator: gradient of the look-up in each group, `straight_through` as in the paper,
            `rotation` (Fifty et al. 2024) or `diveq` (Vali et al. 2025).
    """

    subquantizers: Iterable[Quantizer]

    def __init__(
        self,
        *,
        groups: int,
        group_channels: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if groups < 1 or group_channels < 1 or codebook_size < 2:
            raise ValueError(
                "product VQ needs groups >= 1, group_channels >= 1 and codebook_size >= 2, got "
                f"{groups}, {group_channels} and {codebook_size}"
            )
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, group_channels)
        super().__init__(
            latent_channels=groups * group_channels, codebook_sizes=(codebook_size,) * groups
        )
        self.group_channels = group_channels
        subquantizers = nn.ModuleList(
            build(
                "vq",
                latent_channels=group_channels,
                codebook_size=codebook_size,
                commitment_weight=commitment_weight,
                estimator=estimator,
            )
            for _ in range(groups)
        )
        self.subquantizers = cast(Iterable[Quantizer], subquantizers)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        return quantize_groups(self.subquantizers, z, group_channels=self.group_channels)

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return dequantize_groups(self.subquantizers, indices)
