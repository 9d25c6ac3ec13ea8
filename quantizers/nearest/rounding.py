"""The codes of an exact search, as its first pass in float32 takes them.

The first pass scores a code C for a latent X by <X, C> - |C|^2 / 2, which orders codes as the
distance does, around the centre of the codes and scaled so that they are about 1 long.

Rounding. Let u = 2^-24 and d be the number of channels. Coordinates enter the first pass with a
relative error of at most u, half squares with one of (d + 3) u, and a sum of d + 1 products adds
(d + 1) u of the sum of their magnitudes, in whatever order it is done. With the inequality of
Cauchy and Schwarz, a score is wrong by at most (d + 4) u (|X| |C| + |C|^2), to first order. The
bound is taken as 1.01 (d + 12) u, with the longest code of a block for |C|, which leaves room for
the arithmetic of the bound itself. What float64 can do to the distances that are compared after
all, at most 2^-52 (d + 4) (|X| + max |C|)^2, is `slack`. |C| is taken as 2^-40 at least, so that no
underflow matters.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SHORTEST = 2.0**-40  # of the lengths in a bound


def score_error(channels: int) -> float:
    """The error of a score, relative to |X| |C| + |C|^2."""
    return 1.01 * (channels + 12) * 2.0**-24


def distance_slack(channels: int) -> float:
    """The error of a squared distance in float64, relative to (|X| + max |C|)^2."""
    return (channels + 4) * 2.0**-52


class ScaledCodes:
    """Codes in float32 around their centre, and how far rounding can take their scores.

    Attributes:
        rows: (v, d + 1), coordinates and minus half of their squared length; not finite for the
            longest codes there are, whose mean overflows.
        squares: (v,), squared lengths.
        radius: length of the longest code.
        alike: whether no code is many times as long as they are on average.
        error, slack: see `score_error` and `distance_slack`.
    """

    def __init__(self, codes: Float[Tensor, "v d"]) -> None:
        low, high = map(float, torch.aminmax(codes))
        self.scale = 2.0 ** -math.frexp(high / 2 - low / 2)[1] if low < high else 1.0
        self.shift = codes.mean(dim=0) * -self.scale
        self.rows = self.coordinates(codes)
        self.squares = self.rows[:, :-1].square().sum(dim=1)
        torch.mul(self.squares, -0.5, out=self.rows[:, -1])
        largest, mean = float(self.squares.amax()), float(self.squares.mean())
        self.radius = max(math.sqrt(largest), SHORTEST) if largest >= 0 else math.inf
        self.alike = self.radius < 8 * math.sqrt(mean)
        self.error = score_error(codes.shape[1])
        self.slack = distance_slack(codes.shape[1])

    def coordinates(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The coordinates of latents or codes in float32, and a 1: scores are products of these."""
        rows = torch.ones(vectors.shape[0], vectors.shape[1] + 1)
        torch.add(self.shift, vectors, alpha=self.scale, out=rows[:, :-1])
        return rows

    def longest(self, block: int) -> Float[Tensor, "b 1"]:
        """Length of the longest code in each block of so many; all blocks are full."""
        squares = self.squares.view(-1, block)
        return squares.amax(dim=1, keepdim=True).sqrt_().clamp_min_(SHORTEST)
