"""Learnable Geometric Quantization (LGQ): the gradient of a soft assignment moves all codes.

Altun et al., "LGQ: Learning Discretization Geometry for Scalable and Stable Image Tokenization",
2026, https://arxiv.org/abs/2602.16086. Only the abstract of the paper could be read; formulas,
weights, width and start values are those of the released code (KurbanIntelligenceLab/LGQ).

Deviations: the temperature is constant, because a quantizer does not know the length of a run; the
released code lowers it from 1 to 0.1 by epochs. Codes start normal and are replaced by latents of
the first training batch in the first `update`, after the first optimizer step; the released code
does so before that step. Options that the released recipe leaves off (perplexity floor, learned
widths, cosine distance, one codebook per channel) are left out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.nearest import nearest
from quantizers.nearest.dot_products import dot_products
from quantizers.parts.losses import check_temperature, check_weight, mean_square
from quantizers.parts.once import Once
from quantizers.parts.processes import copy_first_process, mean_over_tokens
from quantizers.parts.soft_codes import Results, checkpointed
from quantizers.registry import register

_START_NOISE = 0.01  # standard deviation between copies of a latent, if codes outnumber latents


class _SoftCode(torch.autograd.Function):
    """For p = softmax(-|z - c|^2 / tau): the mean code, the sum of p^2, and p summed over tokens.

    Each product and sum is one pass over p; autograd would take more passes and keep copies.
    """

    @staticmethod
    def forward(
        ctx: Any, latents: Tensor, codes: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        penalty = codes.square().sum(dim=1) / -temperature  # all codes share |z|^2
        p = _affine(2 / temperature * latents, codes, penalty).softmax(dim=1)
        ctx.save_for_backward(latents, codes, p)
        ctx.temperature = temperature
        return dot_products(p, codes.T), p.flatten().dot(p.flatten()), p.sum(dim=0)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_mean: Tensor, grad_certainty: Tensor, grad_usage: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        latents, codes, p = ctx.saved_tensors
        grad_logits = _affine(grad_mean, codes, grad_usage)  # so far the gradient of p
        grad_logits.addcmul_(p, grad_certainty, value=2).mul_(p)
        grad_logits.addcmul_(p, grad_logits.sum(dim=1, keepdim=True), value=-1)
        pull = dot_products(grad_logits.T, latents.T) - grad_logits.sum(dim=0).unsqueeze(1) * codes
        scale = 2 / ctx.temperature
        grad_codes = dot_products(p.T, grad_mean.T) + scale * pull
        return scale * dot_products(grad_logits, codes.T), grad_codes, None


def _affine(
    latents: Float[Tensor, "n c"], codes: Float[Tensor, "v c"], offset: Float[Tensor, " v"]
) -> Float[Tensor, "n v"]:
    """`latents @ codes.T + offset` in one pass: the offset is one more channel."""
    ones = latents.new_ones(latents.shape[0], 1)
    wider = torch.cat([codes, offset.unsqueeze(1)], dim=1)
    return dot_products(torch.cat([latents, ones], dim=1), wider)


@register("lgq")
class LGQ(Quantizer):
    """A token's soft code is p = softmax(-|z - c_k|^2 / tau), the posterior of a Gaussian mixture.

    Formula: z_q = c_k with k = argmin_j |z - c_j|^2; the gradient is that of sum_j p_j c_j, p =
    softmax(-|z - c_j|^2 / tau).

    The nearest code is emitted with the gradient of the mean code sum_k p_k c_k, so every token
    trains every code. Losses: |q - z|^2, where q has that gradient; a peakedness loss
    1 - sum_k p_k^2, which is 0 for a certain token; a usage loss V sum_k u_k^2, where u is the
    batch's mean soft code. The usage loss is 1 if all codes are used equally and V if one is.

    Args:
        latent_channels: channels of a code, C in the released code.
        codebook_size: number of codes, K in the paper.
        temperature: tau of the soft code.
        peakedness_weight: weight of the peakedness loss, lambda_peak in the released code.
        usage_weight: weight of the usage loss, lambda_bins in the released code.

    Attributes:
        started: whether the codes have been replaced by latents.
    """

    codebook: Float[Tensor, "v c"]
    started: Bool[Tensor, ""]

    def __init__(
        self,
        *,
        latent_channels: int = 64,
        codebook_size: int,
        temperature: float = 1.0,
        peakedness_weight: float = 0.005,
        usage_weight: float = 0.005,
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"LGQ needs a codebook_size of at least 2, got {codebook_size}")
        check_temperature(temperature)
        check_weight("peakedness_weight", peakedness_weight)
        check_weight("usage_weight", usage_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.temperature = temperature
        self.peakedness_weight = peakedness_weight
        self.usage_weight = usage_weight
        self.codebook = nn.Parameter(torch.randn(codebook_size, latent_channels))
        self.register_buffer("started", torch.tensor(False))
        self.start = Once(latent_channels)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        latents = u.flatten(0, -2)
        if self.training:
            self.start.collect(latents)
        indices = nearest(latents, self.codebook)
        code = F.embedding(indices, self.codebook)
        (mean_codes,), (uncertainties, usages) = checkpointed(
            self._soft_codes, latents, floats_per_row=len(self.codebook)
        )
        quantized = straight_through(mean_codes, code)
        tokens = latents.shape[0]
        uncertainty = uncertainties / max(tokens, 1)
        usage = mean_over_tokens(usages, tokens, all_processes=self.training)
        return QuantizerOutput(
            quantized=quantized.view(u.shape).movedim(-1, 1),
            indices=indices.view(u.shape[:-1]).unsqueeze(1),
            losses={
                "quantization": mean_square(quantized, latents),
                "peakedness": self.peakedness_weight * uncertainty,
                "usage": self.usage_weight * len(self.codebook) * usage.square().sum(),
            },
        )

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)

    @torch.no_grad()
    def update(self) -> None:
        """The first time after a training forward, moves every code to a latent of that forward.

        Latents are drawn with torch's global generator, without replacement. If codes outnumber
        them, they are drawn repeatedly and all codes get a little noise. In a distributed run every
        process calls it, with at least one latent, and all take the codes of the first process.
        """
        if (latents := self.start.take(self.started)) is None:
            return
        size = len(self.codebook)
        order = torch.randperm(len(latents), device=latents.device)
        codes = latents[order.repeat(size // len(order) + 1)[:size]]
        if size > len(latents):
            codes = codes + _START_NOISE * torch.randn_like(codes)
        self.codebook.copy_(codes)
        copy_first_process(self.codebook)

    def _soft_codes(self, latents: Float[Tensor, "n c"]) -> Results:
        """Mean code of each token, minus the centre; over tokens, sums of 1 - sum_k p_k^2 and p."""
        center = self.codebook.mean(dim=0).detach()  # far from the origin differences cancel
        latents, codes = latents - center, self.codebook - center
        mean, certainty, usage = _SoftCode.apply(latents, codes, self.temperature)
        return (mean,), (latents.shape[0] - certainty, usage)
