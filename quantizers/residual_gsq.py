"""Residual GSQ: the first stage looks up directions, later stages look up the residuals.

We know of no paper that has it. It composes residual quantization (Lee et al.,
"Autoregressive Image Generation using Residual Quantization" (RQ-VAE), CVPR 2022,
https://arxiv.org/abs/2203.01941, section 3.1) and GSQ (Wang, Zhang, et al., "Scaling Image
Tokenizers with Grouped Spherical Quantization", 2024, https://arxiv.org/abs/2412.02632).

Deviations: only the first stage is spherical. Later stages must see the length of a residual, so
they normalise neither the residual nor their codes; their codes start uniform in [-1/V, 1/V], as in
VQ. RQ-VAE has one codebook for all stages; here each stage has its own, because unit codes are too
long for a residual.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.stages import sum_of_losses, sum_of_stages
from quantizers.parts.unit_length import normalize
from quantizers.registry import build, register


@register("residual_gsq")
class ResidualGSQ(Quantizer):
    """Sums one code per stage in each of G groups of d channels: D G log2 V bits per position.

    Formula: z_q,g = sum_s e_s(k_s) with k_1 = argmax_j <u_g, e_1,j> on the sphere, k_s = argmin_j
    |r_(s-1) - e_s,j|^2, u_g = z_g / |z_g|, r_0 = u_g, r_s = r_(s-1) - e_s(k_s).

    The losses of GSQ, on u in the first stage and on the residual r_(s-1) in later stages, are
    summed over all stages. The output's gradient passes to u, once. The indices of all groups of
    the first stage come first, then the indices of the second stage.

    Args:
        groups: number of groups, G of GSQ; the latent has G * d channels.
        group_channels: channels of one group, d of GSQ, at least 2.
        codebook_size: codes of one codebook, V of GSQ, the same in all stages.
        stages: quantization depth, D of RQ-VAE.
        shared: in each stage one codebook for all groups, or one for each group.
        commitment_weight: beta of both papers, on the mean over all elements.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "a sum of codes has another length than the direction that is looked up"
    }

    quantizers: Iterable[Quantizer]

    def __init__(
        self,
        *,
        groups: int,
        group_channels: int,
        codebook_size: int,
        stages: int,
        shared: bool = True,
        commitment_weight: float = 0.25,
    ) -> None:
        if stages < 1 or group_channels < 2:
            raise ValueError(
                "residual GSQ needs stages >= 1 and group_channels >= 2, got "
                f"{stages} and {group_channels}"
            )
        quantizers = [
            build(
                "gsq",
                groups=groups,
                group_channels=group_channels,
                codebook_size=codebook_size,
                shared=shared,
                spherical=stage == 0,
                init="sphere" if stage == 0 else "uniform",
                commitment_weight=commitment_weight,
            )
            for stage in range(stages)
        ]
        super().__init__(
            latent_channels=groups * group_channels,
            codebook_sizes=quantizers[0].codebook_sizes * stages,
        )
        self.groups = groups
        self.quantizers = cast(Iterable[Quantizer], nn.ModuleList(quantizers))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        first, *later = self.quantizers
        outputs = [first.quantize(z)]
        residual = self._directions(z)
        for stage in later:
            residual = residual - outputs[-1].quantized.detach()
            outputs.append(stage.quantize(residual))
        indices = torch.cat([output.indices for output in outputs], dim=1)
        return QuantizerOutput(
            # the output of the first stage has the gradient of u
            quantized=straight_through(outputs[0].quantized, self.dequantize(indices)),
            indices=indices,
            losses=sum_of_losses([output.losses for output in outputs]),
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """Sums the codes of the first stages, G indices each; fewer stages give a coarser code."""
        decoders = [stage.dequantize for stage in self.quantizers]
        return sum_of_stages(decoders, indices, groups=self.groups)

    def _directions(self, z: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """u in the class docstring."""
        groups = z.movedim(1, -1).unflatten(-1, (self.groups, -1))
        return normalize(groups).flatten(-2).movedim(-1, 1)
