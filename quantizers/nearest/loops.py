"""The exact search by compiled loops over all codes.

The first pass (`rounding` has its scores and bounds) keeps the scores of the best two blocks of
codes for each latent. If rounding cannot explain their difference, the second pass computes float64
distances to the codes of the best block. For a few other latents it computes those to all codes.
The rest is not certain, nor is a latent with two distances so close that another order of summation
could swap them. The caller searches for these otherwise, so no index depends on this file.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quantizers.nearest.loops_numba import BLOCK, STRIP, scale_codes, search_parallel, search_serial
from quantizers.nearest.rounding import MIN_LENGTH, are_alike, distance_slack, score_error
from quantizers.nearest.threads_numba import run, threads

_MAX_SHARE = 512  # latents that a thread takes at a time


class _Codes(NamedTuple):
    """Codes as the loops take them: b blocks of 8, the last one filled up.

    Attributes:
        scale, shift, radius, error, slack: see `ScaledCodes`.
        rows: (b * 8, d), scaled codes, then zeros.
        half: (b * 8,), minus half of their squared lengths, then -infinity.
        exact: (b * d, 8), the given codes, then infinity: the channels of each block.
    """

    scale: float
    shift: np.ndarray
    radius: np.float32
    error: np.float32
    slack: float
    rows: np.ndarray
    half: np.ndarray
    exact: np.ndarray


class Loops:
    """Codes that are prepared for the compiled loops."""

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        size, channels = codes.shape
        missing = -size % BLOCK
        shift, half = np.zeros(channels), np.full(size + missing, -np.inf, np.float32)
        rows = np.zeros((size + missing, channels), np.float32)
        scale, largest, mean = scale_codes(codes.contiguous().numpy(), shift, rows, half)
        self.alike = are_alike(largest, mean)
        exact = F.pad(codes, (0, 0, 0, missing), value=torch.inf)
        self.codes = _Codes(
            scale=scale,
            shift=shift,
            radius=np.float32(max(math.sqrt(largest), MIN_LENGTH)),
            error=np.float32(score_error(channels)),
            slack=distance_slack(channels),
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
        share = min(_MAX_SHARE, STRIP * math.ceil(len(latents) / threads() / STRIP))
        rows = latents.contiguous().numpy()
        arguments = self.codes, rows, share, index.numpy(), certain.numpy()
        run(search_serial, search_parallel, arguments)
        return index, certain
