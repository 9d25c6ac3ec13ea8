"""KL-regularised Gaussian latent: the continuous control of finite capacity.

Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014, https://arxiv.org/abs/1312.6114,
section 2.4 (reparameterization) and appendix B (the divergence of two Gaussians); weight and guard
of the variance as in the KL autoencoder of Latent Diffusion (Rombach et al., CVPR 2022,
https://arxiv.org/abs/2112.10752). The noise makes the capacity of the latent finite; `none`
passes any number of bits.

Deviations: Latent Diffusion's encoder emits mean and log-variance as separate channels. Here the
latent is the mean, and a linear map of it, owned by the quantizer, gives the log-variance. So the
bottleneck is as wide as every other, and the map counts as quantizer parameters. The divergence is
the mean over all elements. Latent Diffusion adds its sum over an image to a reconstruction loss
that is summed over the pixels; with a mean over pixels, its weight on the mean would be `kl_weight`
times the number of latent elements per image element (1/6 at 32 px with 8 x 8 x 8 latents). The
quantizer does not know the image, so the default is Latent Diffusion's number unchanged.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.losses import check_weight
from quantizers.registry import register

_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -30.0, 20.0  # only keep the exponential finite


@register("kl")
class KL(Quantizer):
    """The posterior N(mu, sigma^2) of every channel: a sample in training, its mean in eval.

    Formula: z_q = z + sigma n with ln sigma^2 = A z + b and n ~ N(0, I); z_q = z in eval mode.

    In training the noise comes from torch's global generator. Like `none` it has k = 0 codebooks
    and an infinite `bits_per_position`, because no fixed-length code describes a real number.

    Args:
        latent_channels: channels of the mean.
        kl_weight: weight of KL(N(mu, sigma^2) || N(0, 1)), in nats per latent element.
    """

    control: ClassVar[str | None] = "upper bound: a continuous latent with learned Gaussian noise"
    breaks: ClassVar[Mapping[str, str]] = {
        "discrete": "a continuous latent has no codes, so indices cannot be decoded",
        "determinism": "the latent of a training step is drawn at random",
    }

    def __init__(self, *, latent_channels: int = 8, kl_weight: float = 1e-6) -> None:
        check_weight("kl_weight", kl_weight)
        super().__init__(latent_channels=latent_channels, codebook_sizes=())
        self.kl_weight = kl_weight
        self.to_log_variance = nn.Linear(latent_channels, latent_channels)
        nn.init.zeros_(self.to_log_variance.weight)  # the noise starts with the prior's variance
        nn.init.zeros_(self.to_log_variance.bias)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        mean = z.movedim(1, -1)
        log_variance = self.to_log_variance(mean).clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        sample = mean
        if self.training:
            sample = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return QuantizerOutput(
            quantized=sample.movedim(-1, 1),
            indices=z[:, :0].long(),
            losses={"kl": self.kl_weight * divergence / max(z.numel(), 1)},
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        raise TypeError("the control 'kl' has no codes: a continuous latent cannot be decoded")

    @property
    def bits_per_position(self) -> float:
        return float("inf")
