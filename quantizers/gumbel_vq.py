"""Gumbel-softmax quantization: in training, codes are drawn from a categorical distribution.

Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017,
https://arxiv.org/abs/1611.01144, equations 1 and 2 and the straight-through estimator of section
2.2; the quantizer, its prior and its weights as in VQGAN's released code (Esser, Rombach, Ommer,
CVPR 2021, https://arxiv.org/abs/2012.09841).

Deviations: the temperature is constant, because a quantizer does not know the step; released
recipes lower it during training. Eval mode uses the most probable code; the released code keeps
drawing. The logarithm of the KL term is exact; the released code adds 1e-10.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.nearest.dot_products import dot_products
from quantizers.parts.entropy import code_sums
from quantizers.parts.losses import check_temperature, check_weight
from quantizers.parts.soft_codes import Results, checkpointed, soft_assignment
from quantizers.registry import register


@register("gumbel_vq")
class GumbelVQ(Quantizer):
    """A linear layer gives each code's unnormalised log-probability; a drawn code is emitted.

    Formula: z_q = e_k with k = argmax_j (w_j z + b_j + g_j); g_j is Gumbel noise, absent in
    eval mode.

    Latents and codes do not share a space: only the decoder trains the codebook. In training the
    random numbers come from torch's global generator.

    Args:
        latent_channels: channels of the latent and of a code; as wide as in VQGAN, so the logits
            can depend on everything that the encoder knows.
        codebook_size: number of classes of the distribution, k in the paper.
        temperature: tau of the softmax that carries the gradient; it does not affect which code is
            drawn.
        kl_weight: weight of the KL divergence between a token's distribution and the uniform one,
            in nats.
    """

    breaks: ClassVar[Mapping[str, str]] = {
        "projection": "logits are a learned function of the latent, not a distance to the codes",
        "determinism": "the codes of a training step are drawn at random",
    }

    codebook: Float[Tensor, "v c"]

    def __init__(
        self,
        *,
        latent_channels: int = 256,
        codebook_size: int,
        temperature: float = 1.0,
        kl_weight: float = 5e-4,
    ) -> None:
        if codebook_size < 2:
            raise ValueError(f"GumbelVQ needs a codebook_size of at least 2, got {codebook_size}")
        check_temperature(temperature)
        check_weight("kl_weight", kl_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=(codebook_size,))
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.to_logits = nn.Linear(latent_channels, codebook_size)
        self.codebook = nn.Parameter(torch.randn(codebook_size, latent_channels))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1)
        latents = u.flatten(0, -2)
        (quantized, indices), (divergence,) = checkpointed(
            self._draw, latents, floats_per_row=len(self.codebook)
        )
        return QuantizerOutput(
            quantized=quantized.view(u.shape).movedim(-1, 1),
            indices=indices.view(u.shape[:-1]).unsqueeze(1),
            losses={"kl": self.kl_weight * divergence / max(latents.shape[0], 1)},
        )

    def _draw(self, latents: Float[Tensor, "n c"]) -> Results:
        """Code and index of each token; the sum of their divergences from the uniform prior."""
        logits = dot_products(latents, self.to_logits.weight) + self.to_logits.bias
        scores = logits + _gumbel_like(logits) if self.training else logits
        indices = scores.max(dim=1).indices  # a tie goes to the lowest index
        probabilities = (scores / self.temperature).softmax(dim=1)
        quantized = soft_assignment(probabilities, indices, self.codebook)
        return (quantized, indices), (self._divergences_from_uniform(logits),)

    def _divergences_from_uniform(self, logits: Float[Tensor, "n v"]) -> Float[Tensor, ""]:
        """Sum over tokens of KL(softmax(logits) || uniform) = ln v - entropy, in nats."""
        entropies, _ = code_sums(logits)
        return logits.shape[0] * math.log(logits.shape[1]) - entropies

    def dequantize(self, indices: Int[Tensor, "b 1 *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.squeeze(1), self.codebook).movedim(-1, 1)


def _gumbel_like(logits: Float[Tensor, "n v"]) -> Float[Tensor, "n v"]:
    """Samples of Gumbel(0, 1): -log of an exponential variable, which is -log(1 - u).

    Random bits take most of the time on a CPU, so each sample uses only 32 of them, as an integer.
    Integers near 0, which give the largest samples, are exact in float32. Values of u are 2^-31
    apart.
    """
    size, limit = logits.numel(), 2**63 - 1
    bits = torch.randint(-limit, limit, ((size + 1) // 2,), device=logits.device)
    u = bits.view(torch.int32)[:size].view_as(logits).float().add_(0.5).abs_()  # at most 2^31
    return u.mul_(-(1 - 2.0**-24) * 2.0**-31).log1p_().neg_().log_().neg_()
