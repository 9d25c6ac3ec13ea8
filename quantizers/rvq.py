"""Residual Vector Quantization (RVQ): each stage quantizes the residual of the stages before it.

Lee et al., "Autoregressive Image Generation using Residual Quantization" (RQ-VAE), CVPR 2022,
https://arxiv.org/abs/2203.01941, section 3.1; in neural codecs since Zeghidour et al.,
"SoundStream", 2021, https://arxiv.org/abs/2107.03312, algorithm 1.

Deviations: codes are trained by gradient, each on the residual that its stage looked up, not by a
moving average, and unused codes are not restarted. RQ-VAE's released code averages the commitment
losses of the stages; here they are summed, as in the paper.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator, estimate
from quantizers.parts.stages import sum_of_losses, sum_of_stages
from quantizers.registry import build, register


@register("rvq")
class RVQ(Quantizer):
    """Sums one code per stage: r_0 = z, k_d = Q(r_(d-1)), r_d = r_(d-1) - e(k_d).

    Formula: z_q = sum_d e(k_d) with k_d = argmin_j |r_(d-1) - e_j|^2, r_0 = z, r_d = r_(d-1) -
    e(k_d).

    The losses of VQ on the residual r_(d-1) are summed over all stages. A stage's commitment,
    |r_(d-1) - sg[e(k_d)]|^2, equals the paper's |z - sg[z^(d)]|^2, where z^(d) is the sum of the
    first d codes. With a shared codebook, indices in another order have the same sum, so there are
    fewer different codes than the nominal rate says.

    Args:
        latent_channels: channels of a code, n_z in the paper.
        codebook_size: codes of one stage, K in the paper.
        stages: quantization depth, D in the paper.
        shared: one codebook for all stages, as in the paper, or one for each stage.
        commitment_weight: beta in the paper, on the mean over all elements.
        estimator: gradient of the step from z to the sum of codes, `straight_through` as in the
            paper, `rotation` (Fifty et al. 2024) or `diveq` (Vali et al. 2025), where the codes of
            all stages get the same gradient.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "the search is greedy: it may split a sum of codes differently"
    }

    quantizers: Iterable[Quantizer]

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        codebook_size: int,
        stages: int,
        shared: bool = True,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
    ) -> None:
        if stages < 1:
            raise ValueError(f"RVQ needs at least 1 stage, got {stages}")
        check_estimator(estimator, latent_channels)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,) * stages)
        self.estimator: Estimator = estimator
        quantizers = nn.ModuleList(
            build(
                "vq",
                latent_channels=latent_channels,
                codebook_size=codebook_size,
                commitment_weight=commitment_weight,
            )
            for _ in range(1 if shared else stages)
        )
        self.quantizers = cast(Iterable[Quantizer], quantizers)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        residual, outputs = z, []
        for stage in self._stages:
            output = stage.quantize(residual)
            residual = residual - output.quantized.detach()
            outputs.append(output)
        indices = torch.cat([output.indices for output in outputs], dim=1)
        u, code = z.movedim(1, -1), self.dequantize(indices).movedim(1, -1)
        return QuantizerOutput(
            quantized=estimate(self.estimator, u, code).movedim(-1, 1),
            indices=indices,
            losses=sum_of_losses([output.losses for output in outputs]),
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """Sums the codes of the first k stages; fewer stages give a coarser code."""
        return sum_of_stages([stage.dequantize for stage in self._stages], indices)

    @property
    def _stages(self) -> list[Quantizer]:
        """The quantizer of each stage: one and the same if the codebook is shared."""
        quantizers = list(self.quantizers)
        return quantizers * (len(self.codebook_sizes) // len(quantizers))
