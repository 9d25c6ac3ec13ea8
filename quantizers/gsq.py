"""Grouped Spherical Quantization (GSQ): look up groups of channels on the unit sphere.

Wang, Zhang, et al., "Scaling Image Tokenizers with Grouped Spherical Quantization", 2024,
https://arxiv.org/abs/2412.02632, equations 3 to 5 and appendix C.

Deviations: the released code looks up on the sphere but emits the raw row of the codebook, and
breaks exact ties at random. Here the emitted code is the one that was looked up (`emit="unit"`;
`"raw"` gives the released behaviour), and a tie goes to the lowest index. Codebooks get no weight
decay. The entropy loss of table 2 is off by default, as in the paper. Of its two terms here, the
released code has only the token's entropy (`diversity_weight=0` gives that), and its soft code is a
softmax of plus the distances, so the farthest code has the largest weight; here the nearest has.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import Estimator, check_estimator, estimate
from quantizers.nearest import nearest
from quantizers.parts.entropy import soft_code_entropies
from quantizers.parts.losses import (
    check_entropy_losses,
    check_weight,
    codebook_losses,
    entropy_losses,
)
from quantizers.parts.unit_length import normalize
from quantizers.registry import register


@register("gsq")
class GSQ(Quantizer):
    """Each of G groups of d channels becomes its own code; G log2 V bits per position.

    Formula: z_q,g = e_k / |e_k| with k = argmax_j <z_g, e_j> / |e_j|, in each group g of
    channels.

    Args:
        groups: number of groups, G in the paper; the latent has G * d channels.
        group_channels: channels of one group, d in the paper.
        codebook_size: codes of one codebook, V in the paper.
        shared: one codebook for all groups, as in the paper, or one for each.
        spherical: normalise latents and codes to unit length before the look-up. The default is
            True, but False if d is 1 or 2, as in the paper.
        emit: `unit` emits normalised codes, `raw` the rows of the codebook; they only differ if
            `spherical`.
        init: codes start uniform on the sphere (`sphere`) or uniform in [-1/V, 1/V] (`uniform`;
            [-1, 1] if d is 1). The default is `sphere`, but `uniform` if d is 1 and codes are not
            normalised, because that sphere has only two points.
        commitment_weight: beta in the paper.
        estimator: gradient of the look-up in each group, `straight_through` as in the paper,
            `rotation` (Fifty et al. 2024) or `diveq` (Vali et al. 2025).
        entropy_weight: weight of both entropy terms, each summed over the groups. The first lowers
            the entropy of a token's soft code (certainty), the second raises the entropy of the
            mean over the batch (diversity).
        diversity_weight: weight of the second relative to the first.
        temperature: tau of a group's soft code, p(code | z) proportional to exp(-|u - code|^2 /
            tau), where u is the vector that is looked up; 1 as in the released code.
    """

    codebook: Float[Tensor, "codebooks v d"]

    def __init__(
        self,
        *,
        groups: int,
        group_channels: int,
        codebook_size: int,
        shared: bool = True,
        spherical: bool | None = None,
        emit: Literal["unit", "raw"] = "unit",
        init: Literal["sphere", "uniform"] | None = None,
        commitment_weight: float = 0.25,
        estimator: Estimator = "straight_through",
        entropy_weight: float = 0.0,
        diversity_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        if groups < 1 or group_channels < 1 or codebook_size < 2:
            raise ValueError(
                "GSQ needs groups >= 1, group_channels >= 1 and codebook_size >= 2, got "
                f"{groups}, {group_channels} and {codebook_size}"
            )
        if emit not in ("unit", "raw") or init not in ("sphere", "uniform", None):
            raise ValueError(
                f"GSQ expects emit 'unit' or 'raw' and init 'sphere', 'uniform' or None, "
                f"got {emit!r} and {init!r}"
            )
        check_weight("commitment_weight", commitment_weight)
        check_estimator(estimator, group_channels)
        check_entropy_losses(
            entropy_weight=entropy_weight,
            diversity_weight=diversity_weight,
            temperature=temperature,
            codes=codebook_size,
        )
        super().__init__(
            latent_channels=groups * group_channels, codebook_sizes=(codebook_size,) * groups
        )
        self.groups = groups
        self.spherical = group_channels > 2 if spherical is None else spherical
        self.emit = emit
        self.commitment_weight = commitment_weight
        self.estimator: Estimator = estimator
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.temperature = temperature
        if init is None:
            init = "sphere" if self.spherical or group_channels > 1 else "uniform"
        codebooks = 1 if shared else groups
        self.codebook = nn.Parameter(_initial(init, codebooks, codebook_size, group_channels))

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1).unflatten(-1, (self.groups, -1))  # groups are contiguous channels
        if self.spherical:
            u = normalize(u)
        indices = self._search(u)
        code = self._look_up(indices)
        quantized = estimate(self.estimator, u, code)
        losses = codebook_losses(u, code, commitment_weight=self.commitment_weight)
        if self.entropy_weight:
            losses |= self._entropy_losses(u.flatten(0, -3))
        return QuantizerOutput(
            quantized=quantized.flatten(-2).movedim(-1, 1),
            indices=indices.movedim(-1, 1),
            losses=losses,
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return self._look_up(indices.movedim(1, -1)).flatten(-2).movedim(-1, 1)

    def _search(self, u: Float[Tensor, "*position k d"]) -> Int[Tensor, "*position k"]:
        if len(self.codebook) == 1:
            flat = nearest(u.flatten(0, -2), self.codebook[0], spherical=self.spherical)
            return flat.view(u.shape[:-1])
        groups = u.flatten(0, -3).movedim(1, 0)
        return nearest(groups, self.codebook, spherical=self.spherical).T.reshape(u.shape[:-1])

    def _look_up(self, indices: Int[Tensor, "*position k"]) -> Float[Tensor, "*position k d"]:
        codes = self.codebook
        if self.spherical and self.emit == "unit":
            codes = F.normalize(codes, dim=-1)
        codebooks, size = codes.shape[:2]
        if codebooks > 1:
            indices = indices + torch.arange(codebooks, device=indices.device) * size
        return F.embedding(indices, codes.flatten(0, 1))

    def _entropy_losses(self, u: Float[Tensor, "n k d"]) -> dict[str, Float[Tensor, ""]]:
        codebooks = F.normalize(self.codebook, dim=-1) if self.spherical else self.codebook
        return entropy_losses(
            soft_code_entropies(
                u,
                codebooks.expand(self.groups, -1, -1),
                temperature=self.temperature,
                all_processes=self.training,
            ),
            entropy_weight=self.entropy_weight,
            diversity_weight=self.diversity_weight,
        )


def _initial(init: str, codebooks: int, size: int, channels: int) -> Tensor:
    if init == "sphere":
        return F.normalize(torch.randn(codebooks, size, channels), dim=-1)
    bound = 1.0 if channels == 1 else 1 / size
    return torch.empty(codebooks, size, channels).uniform_(-bound, bound)
