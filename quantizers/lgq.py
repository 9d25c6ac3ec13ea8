"""Learnable Geometric Quantization (LGQ): the gradient of a soft assignment moves all codes.

Altun et al., "LGQ: Learning Discretization Geometry for Scalable and Stable Image Tokenization",
2026, https://arxiv.org/abs/2602.16086. Of the paper only the abstract could be read; formulas,
weights, width and start values are those of the released code (KurbanIntelligenceLab/LGQ).

Deviations: the temperature is constant, since a quantizer does not know the length of a run; the
released code lowers it from 1 to 0.1 by epochs. Codes start normal and are replaced by latents of
the first training batch in the first `update`, after the first step of the optimizer; in the
released code before it. The options of the released code that its recipe leaves off (floor of the
perplexity, learned widths, cosine distance, one codebook a channel) are left out.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.nearest import nearest
from quantizers.nearest.dot_products import dot_products
from quantizers.parts.losses import check_temperature, check_weight, mean_square
from quantizers.parts.processes import is_distributed, mean_over_tokens
from quantizers.parts.soft_codes import Results, by_slices
from quantizers.registry import register

_START_NOISE = 0.01  # deviation between copies of a latent, where codes outnumber latents


class _SoftCode(torch.autograd.Function):
    """Of p = softmax(-|z - c|^2 / tau): the mean code, the sum of p^2, and of p over tokens.

    Each product and sum is one pass over p, of which autograd would take more and keep copies.
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
        ctx: Any, mean: Tensor, certainty: Tensor, usage: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        latents, codes, p = ctx.saved_tensors
        scores = _affine(mean, codes, usage).addcmul_(p, certainty, value=2).mul_(p)
        scores.addcmul_(p, scores.sum(dim=1, keepdim=True), value=-1)
        pull = dot_products(scores.T, latents.T) - scores.sum(dim=0).unsqueeze(1) * codes
        scale = 2 / ctx.temperature
        of_codes = dot_products(p.T, mean.T) + scale * pull
        return scale * dot_products(scores, codes.T), of_codes, None


def _affine(
    latents: Float[Tensor, "n c"], codes: Float[Tensor, "v c"], offset: Float[Tensor, " v"]
) -> Float[Tensor, "n v"]:
    """`latents @ codes.T + offset` without a pass for the offset: it is one more channel."""
    ones = latents.new_ones(latents.shape[0], 1)
    wider = torch.cat([codes, offset.unsqueeze(1)], dim=1)
    return dot_products(torch.cat([latents, ones], dim=1), wider)


@register("lgq")
class LGQ(Quantizer):
    """A token's soft code is p = softmax(-|z - c_k|^2 / tau), the posterior of a Gaussian mixture.

    Formula: z_q = c_k with k = argmin_j |z - c_j|^2; the gradient is that of sum_j p_j c_j, p =
    softmax(-|z - c_j|^2 / tau).

    The nearest code is emitted with the gradient of the mean code sum_k p_k c_k, so every code is
    trained by every token. Losses: |q - z|^2, whose q has that gradient; a peakedness loss
    1 - sum_k p_k^2, which is 0 for a certain token; a usage loss V sum_k u_k^2 of the batch's mean
    soft code u, which is 1 when all codes are used alike and V when one is.

    Args:
        latent_channels: channels of a code, C in the released code.
        codebook_size: number of codes, K in the paper.
        temperature: tau of the soft code.
        peakedness_weight: weight of the peakedness loss, lambda_peak in the released code.
        usage_weight: weight of the usage loss, lambda_bins in the released code.

    Attributes:
        started: whether codes have been replaced by latents.
    """

    codebook: Float[Tensor, "v c"]
    started: Bool[Tensor, ""]
    last_latents: Float[Tensor, "n c"]

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
        self.register_buffer("last_latents", torch.empty(0, latent_channels), persistent=False)
        self._known_to_have_started = False  # then the host need not wait for `started`

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        latents = u.flatten(0, -2)
        if self.training:
            self.last_latents = latents.detach()
        indices = nearest(latents, self.codebook)
        code = F.embedding(indices, self.codebook)
        rows, sums = by_slices(self._soft_code, latents, codes=len(self.codebook))
        quantized = straight_through(rows[0], code)
        tokens = latents.shape[0]
        uncertainty = sums[0] / max(tokens, 1)
        usage = mean_over_tokens(sums[1], tokens, all_processes=self.training)
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

        Latents are drawn from torch's global generator without replacement; where codes outnumber
        them, each is taken again and all codes get a little noise. In a distributed run every
        process calls it, with at least one latent, and all take the codes of the first.
        """
        latents, size = self.last_latents, len(self.codebook)
        self.last_latents = latents.new_empty(0, self.latent_channels)
        if self._known_to_have_started or len(latents) == 0:
            return
        self._known_to_have_started = True
        if self.started:
            return
        order = torch.randperm(len(latents), device=latents.device)
        codes = latents[order.repeat(size // len(order) + 1)[:size]]
        if size > len(latents):
            codes = codes + _START_NOISE * torch.randn_like(codes)
        self.codebook.copy_(codes)
        if is_distributed():
            dist.broadcast(self.codebook, src=0)
        self.started.fill_(True)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._known_to_have_started = False

    def _soft_code(self, latents: Float[Tensor, "n c"]) -> Results:
        """Mean code of each token, but for the centre; sums over them of 1 - sum_k p_k^2 and p."""
        center = self.codebook.mean(dim=0).detach()  # far from the origin differences cancel
        latents, codes = latents - center, self.codebook - center
        mean, certainty, usage = _SoftCode.apply(latents, codes, self.temperature)
        return (mean,), (latents.shape[0] - certainty, usage)

    def extra_repr(self) -> str:
        size, channels = self.codebook.shape
        return f"codebook_size={size}, latent_channels={channels}, temperature={self.temperature}"
