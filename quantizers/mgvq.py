"""Multi-group VQ (MGVQ): a codebook on the sphere for each group; unused codes follow latents.

Jia et al., "MGVQ: Could VQ-VAE Beat VAE? A Generalizable Tokenizer with Multi-group Quantization",
2025, https://arxiv.org/abs/2507.07997; codes out of use are re-anchored as in Zheng, Vedaldi,
"Online Clustered Codebook" (CVQ-VAE), ICCV 2023, https://arxiv.org/abs/2307.15139, with latents
drawn by distance. Of the papers only the abstracts could be read; formulas, width and start values
are those of the released code, which has the quantizer but no script that trains it.

Deviations: the nested masking of training, which sets the last groups of all latents to zero at
random, is left out: a masked group has no index, so what the decoder sees would not follow from the
indices. The released configuration, of the second stage, masks nothing either. The convolutions by
group around the quantizer are left out; every quantizer here has the adapters of the frame. The
losses are means over all elements, and codes are re-anchored after the optimizer's step; in the
released code before it.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.parts.groups import dequantize_groups, quantize_groups
from quantizers.parts.losses import check_weight
from quantizers.parts.processes import is_distributed
from quantizers.parts.soft_codes import Results, by_slices
from quantizers.parts.unit_length import normalize
from quantizers.registry import build, register

_SHARPNESS, _RESIDUE = 10.0, 1e-3  # of CVQ-VAE: used codes stay, unused ones keep 0.1 %


@register("mgvq")
class MGVQ(Quantizer):
    """G codebooks, each of V unit vectors for its own group of channels: G log2 V bits a position.

    Formula: z_q,g = e_g,k / |e_g,k| with k = argmax_j <z_g, e_g,j> / |e_g,j|, in each group g.

    `update` keeps for each code the moving average p of the share of latents that choose it, and
    moves it to w c + (1 - w) z with w = 1 - exp(-10 V p / (1 - decay) - 0.001), where z is a unit
    latent of its group, drawn with probability softmax(-|z - c|^2) over the last training batch. So
    a code that no latent chooses is replaced, and one of mean use stays. The numbers come from
    torch's global generator. `update` holds all V x n probabilities of one group in memory.

    Args:
        groups: number of sub-tokens, G in the paper.
        group_channels: channels of a sub-token, at least 2; 8 in the model of 4 groups.
        codebook_size: codes of one sub-codebook, V here; the paper counts those of all groups.
        decay: of the moving average p; 1 - decay is alpha of the released code.
        commitment_weight: beta of VQ.

    Attributes:
        usage: p of each group, which starts at 0, so that the first update already replaces the
            codes that the first batch did not choose.
    """

    subquantizers: Iterable[Quantizer]
    usage: Float[Tensor, "k v"]
    pending_counts: Float[Tensor, "k v"]
    last_latents: Float[Tensor, "n c"]

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
        pending = torch.zeros(groups, codebook_size)
        self.register_buffer("pending_counts", pending, persistent=False)
        self.register_buffer("last_latents", torch.empty(0, channels), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        output = quantize_groups(self.subquantizers, z, group_channels=self.group_channels)
        if self.training:
            self._count(output.indices.movedim(1, 0).flatten(1))
            self.last_latents = z.detach().movedim(1, -1).flatten(0, -2)
        return output

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return dequantize_groups(self.subquantizers, indices)

    @torch.no_grad()
    def update(self) -> None:
        """Moves usage and codes; without a training forward before, nothing.

        In a distributed run every process calls it, with at least one latent in its last
        forward; all count together and end with one codebook.
        """
        if len(self.last_latents) == 0:
            return
        if is_distributed():
            dist.all_reduce(self.pending_counts)
        share = self.pending_counts / self.pending_counts.sum(dim=1, keepdim=True)
        self.usage.lerp_(share, 1 - self.decay)
        subtokens = self.last_latents.split(self.group_channels, dim=1)
        each = zip(self.subquantizers, subtokens, self.usage, strict=True)
        for subquantizer, subtoken, usage in each:
            codebook = cast(Tensor, subquantizer.codebook)
            anchors = _drawn_by_distance(normalize(subtoken), codebook)
            stay = self._share_that_stays(usage).unsqueeze(1)
            codebook.copy_(stay * codebook + (1 - stay) * anchors)
            if is_distributed():  # each process drew from its own latents
                dist.broadcast(codebook, src=0)
        self.pending_counts.zero_()
        self.last_latents = self.last_latents.new_empty(0, self.latent_channels)

    def _count(self, choices: Int[Tensor, "k n"]) -> None:
        ones = torch.ones_like(choices, dtype=self.pending_counts.dtype)
        self.pending_counts.scatter_add_(1, choices, ones)

    def _share_that_stays(self, usage: Float[Tensor, " v"]) -> Float[Tensor, " v"]:
        """w of the class, to full precision where it is small."""
        exponent = _SHARPNESS * len(usage) * usage / (1 - self.decay) + _RESIDUE
        return -torch.expm1(-exponent)

    def extra_repr(self) -> str:
        groups, size = self.usage.shape
        return f"groups={groups}, group_channels={self.group_channels}, codebook_size={size}"


def _drawn_by_distance(
    latents: Float[Tensor, "n d"], codebook: Float[Tensor, "v d"]
) -> Float[Tensor, "v d"]:
    """For every code one of the unit latents, near ones more probable."""

    def draw(codes: Tensor) -> Results:
        nearness = 2 * normalize(codes) @ latents.T  # -|z - c|^2, but for a constant
        p = nearness.softmax(dim=1)
        # as `torch.multinomial` draws, without its checks, for which the host would have to wait
        drawn = (p / torch.empty_like(p).exponential_()).argmax(dim=1)
        return (latents[drawn],), ()

    rows, _ = by_slices(draw, codebook, codes=len(latents))
    return rows[0]
