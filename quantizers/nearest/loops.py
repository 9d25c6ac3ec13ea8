"""The exact search by compiled loops over all codes.

Of the scores of all codes only those of the best two blocks are kept for each latent. Where these
are further apart than rounding explains (`nearest_codes` has scores and their bounds), distances to
the codes of the best block are computed in float64, for a few other latents those to all codes. All
others, and those with two distances that float64 in another order of summation could not tell
apart, are not certain, and the caller searches for them otherwise: so no index depends on these
loops.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.loops_numba import (
    BLOCK,
    STRIP,
    prepare,
    search_shares,
    search_shares_in_parallel,
)
from quantizers.nearest.rounding import SHORTEST, distance_slack, score_error
from quantizers.nearest.threads_numba import run, threads

_SHARE = 512  # latents that a thread takes at a time, or fewer


class _Codes(NamedTuple):
    """Codes as the loops take them, and what fills the last block of b.

    Attributes:
        scale, shift: of coordinates, which are shift + scale * x.
        error, slack: see `score_error` and `distance_slack`.
        radius: length of the longest scaled code.
        rows: (b * 8, d), scaled codes, and zeros.
        half: (b * 8,), minus half of their squared lengths, and -infinity.
        exact: (b * d, 8), codes as they were given, and infinity: the channels of each block.
    """

    scale: float
    shift: np.ndarray
    error: float
    slack: float
    radius: np.float32
    rows: np.ndarray
    half: np.ndarray
    exact: np.ndarray


class Loops:
    """Codes that are prepared for the compiled loops.

    Attributes:
        alike: whether no code is many times as long as they are on average: the bounds of rounding
            would be too wide to tell any two codes apart.
    """

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        size, channels = codes.shape
        missing = -size % BLOCK
        shift, half = np.zeros(channels), np.full(size + missing, -np.inf, np.float32)
        rows = np.zeros((size + missing, channels), np.float32)
        scale, longest, mean = prepare(codes.contiguous().numpy(), shift, rows, half)
        self.alike = longest <= 64 * mean
        exact = F.pad(codes, (0, 0, 0, missing), value=torch.inf)
        self.codes = _Codes(
            scale=scale,
            shift=shift,
            error=score_error(channels),
            slack=distance_slack(channels),
            radius=np.float32(max(math.sqrt(longest), SHORTEST)),
            rows=rows,
            half=half,
            exact=exact.view(-1, BLOCK, channels).mT.contiguous().view(-1, BLOCK).numpy(),
        )

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""
        index = torch.zeros(len(latents), dtype=torch.int64)
        certain = torch.zeros(len(latents), dtype=torch.bool)
        if not self.alike:
            return index, certain
        share = min(_SHARE, STRIP * math.ceil(len(latents) / threads() / STRIP))
        rows = latents.contiguous().numpy()
        problem = self.codes, rows, share, index.numpy(), certain.numpy()
        run(search_shares, search_shares_in_parallel, problem)
        return index, certain
