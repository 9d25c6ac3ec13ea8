"""Scores in float32 and the bounds of their rounding errors, for the first pass of exact searches.

The score of a code C for a latent X is <X, C> - |C|^2 / 2: the nearest code has the highest score.
Latents and codes are first shifted to the centre of the codes and scaled to a length of about 1.

Rounding. Let u = 2^-24 and d be the number of channels. Coordinates have a relative error of at
most u, half squares one of (d + 3) u, and a sum of d + 1 products adds (d + 1) u times the sum of
their magnitudes, in any order of summation. By the Cauchy-Schwarz inequality, the error of a score
is at most (d + 4) u (|X| |C| + |C|^2), to first order. The bound used is 1.01 (d + 12) u, with the
longest code of a block for |C|. The difference covers the rounding of the bound itself. `slack`
bounds the error of the float64 distances that are compared in the second pass, at most
2^-52 (d + 4) (|X| + max |C|)^2. |C| is taken as at least 2^-40, so that underflow does not matter.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MIN_LENGTH = 2.0**-40  # in a bound


def score_error(channels: int) -> float:
    """The error of a score, relative to |X| |C| + |C|^2."""
    return 1.01 * (channels + 12) * 2.0**-24


def distance_slack(channels: int) -> float:
    """The error of a squared distance in float64, relative to (|X| + max |C|)^2."""
    return (channels + 4) * 2.0**-52


def are_alike(largest: float, mean: float) -> bool:
    """Whether no squared length is so far above the mean that the bounds separate no two codes."""
    return largest <= 64 * mean < math.inf


class ScaledCodes:
    """Centred and scaled codes in float32, with the bounds of their scores.

    Attributes:
        scale, shift: scaled coordinates are shift + scale * x.
        rows: (v, d + 1), scaled coordinates and minus half of the squared length; not finite for
            codes so large that their mean overflows.
        squares: (v,), squared lengths.
        radius: length of the longest code.
        alike, error, slack: see `are_alike`, `score_error`, `distance_slack`.
    """

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        low, high = map(float, torch.aminmax(codes))
        self.scale = 2.0 ** -math.frexp(high / 2 - low / 2)[1] if low < high else 1.0
        self.shift = codes.mean(dim=0) * -self.scale
        self.rows = self.coordinates(codes)
        self.squares = self.rows[:, :-1].square().sum(dim=1)
        torch.mul(self.squares, -0.5, out=self.rows[:, -1])
        largest, mean = float(self.squares.amax()), float(self.squares.mean())
        self.radius = max(math.sqrt(largest), MIN_LENGTH) if largest >= 0 else math.inf
        self.alike = are_alike(largest, mean)
        self.error = score_error(codes.shape[1])
        self.slack = distance_slack(codes.shape[1])

    def coordinates(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Scaled coordinates of latents or codes, and a 1; scores are dot products of these."""
        rows = torch.ones(vectors.shape[0], vectors.shape[1] + 1)
        torch.add(self.shift, vectors, alpha=self.scale, out=rows[:, :-1])
        return rows

    def longest(self, block: int) -> Float[Tensor, "b 1"]:
        """Length of the longest code in each block of `block` codes; all blocks are full."""
        squares = self.squares.view(-1, block)
        return squares.amax(dim=1, keepdim=True).sqrt_().clamp_min_(MIN_LENGTH)
