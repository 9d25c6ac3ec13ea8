"""Spherical Leech Quantization (Lambda24-SQ): the nearest of 196,560 directions in 24 dimensions.

Zhao et al., "Spherical Leech Quantization for Visual Tokenization and Generation", CVPR 2026,
https://arxiv.org/abs/2512.14697: the shortest vectors of the Leech lattice, on the unit sphere.

Deviations: the paper compares a latent with all codes; here the search uses the structure of the
lattice and finds the same code. The latent may consist of several groups, as in GSQ
(https://arxiv.org/abs/2412.02632); the paper has one group.
"""

import math

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from quantizers.base import Quantizer, QuantizerOutput
from quantizers.estimators import straight_through
from quantizers.parts.leech_lattice import (
    MINIMAL_VECTORS,
    SQUARED_LENGTH,
    golay_words,
    minimal_vectors,
    nearest_minimal_vector,
)
from quantizers.parts.unit_length import normalize
from quantizers.registry import register


@register("leech")
class Leech(Quantizer):
    """Each of G groups of 24 channels becomes a code: G log2(196,560) = 17.585 G bits.

    Formula: z_q,g = argmax_c <z_g, c> over the 196,560 minimal vectors c of the Leech lattice,
    scaled to length 1, in each group g.

    Nothing is learned and there is no loss: the codes are as far apart as 196,560 points on this
    sphere can be, so they need no entropy loss to be used. Every code has 4,600 neighbours at 60
    degrees and none closer.

    Args:
        groups: number of groups; the latent has 24 channels for each.
    """

    words: Bool[Tensor, "4096 24"]
    vectors: Int8[Tensor, "196560 24"]

    def __init__(self, *, groups: int = 1) -> None:
        if groups < 1:
            raise ValueError(f"Leech quantization needs groups >= 1, got {groups}")
        super().__init__(latent_channels=24 * groups, codebook_sizes=(MINIMAL_VECTORS,) * groups)
        self.groups = groups
        words = golay_words()
        self.register_buffer("words", words, persistent=False)
        self.register_buffer("vectors", minimal_vectors(words), persistent=False)

    def quantize(self, z: Float[Tensor, "b c *spatial"]) -> QuantizerOutput:
        v = z.movedim(1, -1).unflatten(-1, (self.groups, 24))  # groups are contiguous channels
        indices = nearest_minimal_vector(v.flatten(0, -2), self.words).view(v.shape[:-1])
        code = self._look_up(indices)
        return QuantizerOutput(
            quantized=straight_through(normalize(v), code).flatten(-2).movedim(-1, 1),
            indices=indices.movedim(-1, 1),
        )

    def dequantize(self, indices: Int[Tensor, "b k *spatial"]) -> Float[Tensor, "b c *spatial"]:
        return self._look_up(indices.movedim(1, -1)).flatten(-2).movedim(-1, 1)

    def _look_up(self, indices: Int[Tensor, "*position k"]) -> Float[Tensor, "*position k 24"]:
        return F.embedding(indices, self.vectors).float() / math.sqrt(SQUARED_LENGTH)
