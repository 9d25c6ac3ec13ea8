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

from quantizers.nearest_codes import SHORTEST, distance_slack, score_error
from quantizers.nearest_numba import (
    TILE,
    channels_at_a_time,
    prepare,
    search_tiles,
    search_tiles_in_parallel,
)
from quantizers.numba_threads import run, threads

_SHARE = 64  # latents, or a multiple, for each thread


class _Codes(NamedTuple):
    """Codes as the loops take them, of k channels: some of those are zero, which changes nothing.

    Attributes:
        scale, shift: of coordinates, which are shift + scale * x.
        error, slack: see `score_error` and `distance_slack`.
        radius: length of the longest scaled code.
        block: number of codes in a block, a multiple of four.
        rows: (b, k), scaled codes, and zeros that fill the last block.
        half: (b,), minus half of their squared lengths, and -infinity.
        exact: (v, k), codes as they were given.
    """

    scale: float
    shift: np.ndarray
    error: float
    slack: float
    radius: np.float32
    block: int
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
        block, step = 8 if size <= 4096 else 16, channels_at_a_time(channels)
        full, width = size + -size % block, channels + -channels % step
        exact, shift = _filled(codes, width).numpy(), np.zeros(width)
        rows, half = np.zeros((full, width), np.float32), np.full(full, -np.inf, np.float32)
        scale, longest, mean = prepare(exact, channels, shift, rows, half)
        self.alike = longest <= 64 * mean
        self.registers = (0,) * step  # a length that is compiled in
        self.codes = _Codes(
            scale=scale,
            shift=shift,
            error=score_error(channels),
            slack=distance_slack(channels),
            radius=np.float32(max(math.sqrt(longest), SHORTEST)),
            block=block,
            rows=rows,
            half=half,
            exact=exact,
        )

    def search(self, latents: Float[Tensor, "n d"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
        """Index of the nearest code for each latent, and whether it is certain."""
        index = torch.zeros(len(latents), dtype=torch.int64)
        certain = torch.zeros(len(latents), dtype=torch.bool)
        if not self.alike:
            return index, certain
        width = min(TILE, _SHARE * math.ceil(len(latents) / threads() / _SHARE))
        rows = _filled(latents, self.codes.rows.shape[1]).numpy()
        problem = self.registers, self.codes, rows, width, index.numpy(), certain.numpy()
        run(search_tiles, search_tiles_in_parallel, problem)
        return index, certain


def _filled(latents: Float[Tensor, "n d"], channels: int) -> Float[Tensor, "n k"]:
    """Contiguous rows with zeros after their channels."""
    if latents.shape[1] == channels:
        return latents.contiguous()
    return F.pad(latents, (0, channels - latents.shape[1]))
