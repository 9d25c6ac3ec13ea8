"""Multi-group VQ (MGVQ): one codebook on the sphere per group; unused codes move to latents.

Jia et al., "MGVQ: Could VQ-VAE Beat VAE? A Generalizable Tokenizer with Multi-group Quantization",
2025, https://arxiv.org/abs/2507.07997; unused codes are re-anchored as in Zheng, Vedaldi, "Online
Clustered Codebook" (CVQ-VAE), ICCV 2023, https://arxiv.org/abs/2307.15139, with latents drawn by
distance. Only the abstracts of the papers could be read; formulas, width and start values are those
of the released code, which has the quantizer but no training script.

Deviations: nested masking in training, which sets the last groups of all latents to zero at random,
is left out: a masked group has no index, so the indices would not determine what the decoder sees.
The released configuration, for the second stage, masks nothing either. The grouped convolutions
around the quantizer are left out; every quantizer here has the adapters of the frame. The losses
are means over all elements. Codes are re-anchored after the optimizer step; the released code does
so before it.
"""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.groups import dequantize_groups, quantize_groups
from quantizers.parts.losses import check_weight
from quantizers.parts.pending import Pending
from quantizers.parts.processes import copy_first_process
from quantizers.parts.soft_codes import Results, checkpointed
from quantizers.parts.unit_length import normalize
from quantizers.registry import build, register

_SHARPNESS, _RESIDUE = 10.0, 1e-3  # as in CVQ-VAE: used codes stay, unused codes keep 0.1 %


@register("mgvq")
class MGVQ(Quantizer):
    """G codebooks of V unit vectors, one for each group of channels: G log2 V bits per position.

    Formula: z_q,g = e_g,k / |e_g,k| with k = argmax_j <z_g, e_g,j> / |e_g,j|, in each group g.

    For each code c, `update` keeps p, the moving average of the share of latents that choose it. It
    moves c to w c + (1 - w) z with w = 1 - exp(-10 V p / (1 - decay) - 0.001). Here z is a unit
    latent of the code's group, drawn with probability softmax(-|z - c|^2) over the last training
    batch with torch's global generator. So a code that no latent chooses is replaced, and a code of
    mean use stays.

    Args:
        groups: number of sub-tokens, G in the paper.
        group_channels: channels of a sub-token, at least 2; 8 in the model of 4 groups.
        codebook_size: codes of one sub-codebook, V here; the paper counts the codes of all groups.
        decay: decay of the moving average p; 1 - decay is alpha in the released code.
        commitment_weight: beta of VQ.

    Attributes:
        usage: p in each group. It starts at 0, so the first update already replaces the codes that
            the first batch did not choose.
    """

    subquantizers: Iterable[Quantizer]
    usage: Float[Tensor, "k v"]

    def __init__(
        self,
        *,
        groups: int,
        group_channels: int,
        codebook_size: int,
        decay: float = 0.99,
        commitment_weight: float = 0.25,
    ) -> None:
        if groups < 1 or group_channels < 2 or codebook_size < 2:
            raise ValueError(
                "MGVQ needs groups >= 1, group_channels >= 2 and codebook_size >= 2, got "
                f"{groups}, {group_channels} and {codebook_size}"
            )
        if not 0 <= decay < 1:
            raise ValueError(f"MGVQ needs a decay in [0, 1), got {decay}")
        check_weight("commitment_weight", commitment_weight)
        channels = groups * group_channels
        super().__init__(latent_channels=channels, codebook_sizes=(codebook_size,) * groups)
        self.group_channels = group_channels
        self.decay = decay
        subquantizers = nn.ModuleList(
            build(
                "cosine_vq",
                latent_channels=group_channels,
                codebook_size=codebook_size,
                commitment_weight=commitment_weight,
            )
            for _ in range(groups)
        )
        self.subquantizers = cast(Iterable[Quantizer], subquantizers)
        self.register_buffer("usage", torch.zeros(groups, codebook_size))
        self.pending = Pending(groups, codebook_size, latent_channels=channels)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        output = quantize_groups(self.subquantizers, z, group_channels=self.group_channels)
        if self.training:
            self._count(output.indices.movedim(1, 0).flatten(1))
            self.pending.latents = z.detach().movedim(1, -1).flatten(0, -2)
        return output

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return dequantize_groups(self.subquantizers, indices)

    @torch.no_grad()
    def update(self) -> None:
        """Moves usage and codes, but only after a training forward.

        In a distributed run every process calls it, with at least one latent in its last forward;
        all count together and end with one codebook.
        """
        if (pending := self.pending.take()) is None:
            return
        counts, latents = pending
        self.usage.lerp_(counts / counts.sum(dim=1, keepdim=True), 1 - self.decay)
        groups = zip(
            self.subquantizers,
            latents.split(self.group_channels, dim=1),
            self.usage,
            strict=True,
        )
        for subquantizer, subtokens, usage in groups:
            codebook = cast(Tensor, subquantizer.codebook)
            anchors = _drawn_by_distance(normalize(subtokens), codebook)
            stay = self._share_that_stays(usage).unsqueeze(1)
            codebook.copy_(stay * codebook + (1 - stay) * anchors)
            copy_first_process(codebook)  # each process drew from its own latents

    def _count(self, choices: Int[Tensor, "k n"]) -> None:
        counts = self.pending.sums
        counts.scatter_add_(1, choices, torch.ones_like(choices, dtype=counts.dtype))

    def _share_that_stays(self, usage: Float[Tensor, " v"]) -> Float[Tensor, " v"]:
        """w in the class docstring, computed with full precision where it is small."""
        exponent = _SHARPNESS * len(usage) * usage / (1 - self.decay) + _RESIDUE
        return -torch.expm1(-exponent)


def _drawn_by_distance(
    latents: Float[Tensor, "n d"], codebook: Float[Tensor, "v d"]
) -> Float[Tensor, "v d"]:
    """For every code one of the unit latents; near latents are more probable."""

    def draw(codes: Tensor) -> Results:
        nearness = 2 * normalize(codes) @ latents.T  # -|z - c|^2, but for a constant
        p = nearness.softmax(dim=1)
        # like `torch.multinomial`, but without its checks, which synchronize with the device
        drawn = (p / torch.empty_like(p).exponential_()).argmax(dim=1)
        return (latents[drawn],), ()

    (drawn,), _ = checkpointed(draw, codebook, floats_per_row=len(latents))
    return drawn
