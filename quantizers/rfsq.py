"""Robust Residual Finite Scalar Quantization (RFSQ): FSQ in stages, each with a learned scale.

Zhu et al., "Robust Residual Finite Scalar Quantization for Neural Compression", 2025,
https://arxiv.org/abs/2508.15860, the strategy of learnable scaling factors.

Deviations: a scale is the exponential of its parameter, so it starts at `initial_scale`; in the
released code it is the softplus of the logarithm of `initial_scale`, so 1 becomes ln 2. The paper's
other strategy, an invertible LayerNorm of each residual, is left out: its inverse needs the mean
and deviation of every image, which the indices do not carry.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from operator import add
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.stages import sum_of_stages
from quantizers.registry import build, register


@register("rfsq")
class RFSQ(Quantizer):
    """Sums FSQ(a_k r_(k-1)) / a_k over all stages k, where r_0 = z and r_k is the residual.

    Formula: z_q = sum_k FSQ(a_k r_(k-1)) / a_k with r_0 = z, r_k = r_(k-1) - FSQ(a_k r_(k-1)) /
    a_k.

    The estimator is that of FSQ in every stage, and residuals carry gradients. So a channel's
    gradient is 1 - (1 - f_1) ... (1 - f_K), where f_k is the slope of the squashing function of
    stage k. No auxiliary loss: the scales learn from the gradient of the output.

    Args:
        levels: values per latent channel in one stage; the paper has (8, 8, 8, 4) in two stages
            and (4, 4, 4, 4, 4) in four.
        stages: number of stages, K; each has the product of `levels` codes.
        initial_scale: a_k of every stage at the start.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "tanh squashes a code like any other latent, so a code is not its own latent"
    }

    log_scales: Float[Tensor, " k"]

    def __init__(self, *, levels: Sequence[int], stages: int, initial_scale: float = 1.0) -> None:
        if stages < 1:
            raise ValueError(f"RFSQ needs at least 1 stage, got {stages}")
        if not 0 < initial_scale < math.inf:
            raise ValueError(f"RFSQ needs a finite initial_scale above 0, got {initial_scale}")
        fsq = build("fsq", levels=levels)
        super().__init__(
            latent_channels=fsq.latent_channels, codebook_sizes=fsq.codebook_sizes * stages
        )
        self.fsq = fsq
        self.log_scales = nn.Parameter(torch.full((stages,), math.log(initial_scale)))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        residual, codes, indices = z, [], []
        for scale in self.log_scales.exp().unbind():
            output = self.fsq.quantize(residual * scale)
            code = output.quantized / scale
            residual = residual - code
            codes.append(code)
            indices.append(output.indices)
        return QuantizerOutput(quantized=reduce(add, codes), indices=torch.cat(indices, dim=1))

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        """Sums the codes of the first k stages; fewer stages give a coarser code."""
        scales = self.log_scales.exp().unbind()
        return sum_of_stages([partial(self._decode, scale=scale) for scale in scales], indices)

    def _decode(self, indices: Tensor, scale: Tensor) -> Tensor:
        return self.fsq.dequantize(indices) / scale
