"""E8 quantization: the nearest of the 240 shortest vectors of the lattice E8, on the unit sphere.

The method of Zhao et al., "Spherical Leech Quantization for Visual Tokenization and Generation",
CVPR 2026, https://arxiv.org/abs/2512.14697: codes from the densest packing of spheres need neither
learning nor losses.

Deviations: the lattice has 8 dimensions instead of 24, and 240 codes instead of 196,560. Therefore
the latent may consist of several groups, as in GSQ (https://arxiv.org/abs/2412.02632).
"""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.nearest import nearest
from quantizers.parts.unit_length import normalize
from quantizers.registry import register


@register("e8")
class E8(Quantizer):
    """Each of G groups of 8 channels becomes a root of E8; G log2(240) = 7.907 G bits.

    Formula: z_q,g = argmax_c <z_g, c> over the 240 roots c of E8, scaled to length 1, in each
    group g.

    Nothing is learned and there is no loss. The codes are in lexicographic order, so codes i and
    239 - i are opposite.

    Args:
        groups: number of groups; the latent has 8 channels for each.
    """

    codebook: Float[Tensor, "240 8"]

    def __init__(self, *, groups: int = 1) -> None:
        if groups < 1:
            raise ValueError(f"E8 needs groups >= 1, got {groups}")
        codebook = _unit_roots()
        super().__init__(latent_channels=8 * groups, codebook_sizes=(len(codebook),) * groups)
        self.groups = groups
        self.register_buffer("codebook", codebook, persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        u = z.movedim(1, -1).unflatten(-1, (self.groups, 8))  # groups are contiguous channels
        u = normalize(u)
        indices = nearest(u.flatten(0, -2), self.codebook, spherical=True).view(u.shape[:-1])
        code = F.embedding(indices, self.codebook)
        return QuantizerOutput(
            quantized=straight_through(u, code).flatten(-2).movedim(-1, 1),
            indices=indices.movedim(-1, 1),
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return F.embedding(indices.movedim(1, -1), self.codebook).flatten(-2).movedim(-1, 1)


def _unit_roots() -> Float[Tensor, "240 8"]:
    """All vectors of E8 of squared length 2, scaled to length 1, in lexicographic order.

    A vector is in E8 if its coordinates are all integers or all halves of odd integers, and their
    sum is even.
    """
    integers = itertools.product((-1.0, 0.0, 1.0), repeat=8)
    halves = itertools.product((-0.5, 0.5), repeat=8)
    roots = [
        vector
        for vector in itertools.chain(integers, halves)
        if sum(x * x for x in vector) == 2 and sum(vector) % 2 == 0
    ]
    return torch.tensor(sorted(roots)) / math.sqrt(2)
